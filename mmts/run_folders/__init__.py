"""What trainings have left in their folders, read without torch and without MLflow."""
