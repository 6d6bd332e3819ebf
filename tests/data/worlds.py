"""Worlds in which every kind of stream has its own way of becoming known, with the rules in words.

What is known when is written here a second time, row by row in pandas, and held against what the
application does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Frames = dict[str, pd.DataFrame]
Moments = Callable[[pd.DataFrame], pd.Series]

ITEMS = ("north", "south")
START = pd.Timestamp("2024-01-01")
HOUR = pd.Timedelta(hours=1)
DAY = pd.Timedelta(days=1)
LONG_AGO = pd.Timestamp("1980-01-01")
KEYS = ("time", "item", "published")
TFIDF = {"kind": "tfidf", "dim": 4}


@dataclass(frozen=True)
class Rule:
    """When the columns of a stream become known.

    past: moment per row, for all columns but these. future: columns, and moment per row.
    """

    past: Moments
    columns: tuple[str, ...] = ()
    future: Moments | None = None


@dataclass(frozen=True)
class World:
    """Frames, settings, and one origin with the rules of what is known there."""

    frames: Frames
    settings: dict[str, Any]
    origin: pd.Timestamp
    rules: dict[str, Rule]

    def unknown(self, name: str, column: str) -> pd.Series:
        """Tell of which rows a column is not known at the origin."""
        rule, rows = self.rules[name], self.frames[name]
        moments = rule.future if column in rule.columns else rule.past
        assert moments is not None
        return moments(rows) > self.origin

    def values(self, name: str) -> list[str]:
        """Name the columns that hold values."""
        return [column for column in self.frames[name] if column not in KEYS]

    def overwrite(self, name: str, choose: Callable[[str], pd.Series]) -> Frames:
        """Fill the chosen cells of one stream with noise."""
        random = np.random.default_rng(1)
        noisy = self.frames[name].copy()
        for column in self.values(name):
            rows = choose(column)
            if pd.api.types.is_numeric_dtype(noisy[column]):
                noisy[column] = noisy[column].astype(float)
            cells = noisy.loc[rows, column]
            if set(noisy[column].dropna()) <= {0, 1}:
                noisy.loc[rows, column] = 1 - cells.fillna(0)
            elif pd.api.types.is_numeric_dtype(noisy[column]):
                noisy.loc[rows, column] = random.normal(1e3, 1e3, len(cells))
            else:
                noisy.loc[rows, column] = [f"noise {n} of the market" for n in range(len(cells))]
        return {**self.frames, name: noisy}

    def overwrite_unknown(self, name: str) -> Frames:
        """Fill what is not known of one stream at the origin with noise."""
        return self.overwrite(name, lambda column: self.unknown(name, column))

    def overwrite_latest(self, name: str, column: str) -> Frames:
        """Fill the latest cell of a column that is known; of a future one, that at the origin."""
        rows = self.frames[name]
        known = ~self.unknown(name, column) & rows[column].notna()
        if "time" in rows:
            if column in self.rules[name].columns:
                known &= rows["time"] <= self.origin
            known &= rows["time"] == rows["time"][known].max()
        return self.overwrite(name, lambda other: known & (other == column))

    def as_of_origin(self, name: str) -> Frames:
        """Leave of one stream what a file would have held at the origin."""
        rows = self.frames[name].copy()
        hidden = pd.DataFrame({c: self.unknown(name, c) for c in self.values(name)})
        for column in hidden:
            rows[column] = rows[column].mask(hidden[column])
        return {**self.frames, name: rows[~hidden.all(axis=1)].reset_index(drop=True)}


def always(rows: pd.DataFrame) -> pd.Series:
    return pd.Series(LONG_AGO, index=rows.index)


def after(delay: pd.Timedelta) -> Moments:
    return lambda rows: rows["time"] + delay


def published(delay: pd.Timedelta = 0 * HOUR) -> Moments:
    """Known when the row says, and some time later."""
    return lambda rows: rows["published"] + delay


def per_item(make: Callable[[int], pd.DataFrame]) -> pd.DataFrame:
    parts = [make(place).assign(item=item) for place, item in enumerate(ITEMS)]
    return pd.concat(parts, ignore_index=True)


def sentences(count: int, seed: int) -> list[str]:
    words = ["calm", "storm", "sale", "strike", "market", "river", "cold", "rise", "fall", "shut"]
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(words, 6)) for _ in range(count)]


def shuffled_delays(count: int, low: float, high: float, seed: int) -> pd.TimedeltaIndex:
    """Return delays in hours so uneven that rows become known out of order."""
    hours = np.random.default_rng(seed).uniform(low, high, count)
    return pd.to_timedelta((hours * 60).round(), unit="min")


def _load(place: int, days: int) -> pd.DataFrame:
    random = np.random.default_rng(place)
    times = pd.date_range(START, periods=24 * days, freq="h")
    load = 50 + 8 * np.sin(2 * np.pi * times.hour / 24) + random.normal(0, 1, len(times))
    return pd.DataFrame({"time": times, "load": load, "staff": random.integers(0, 9, len(times))})


def _model(streams: dict[str, str], target: str, layers: int = 2) -> dict[str, Any]:
    """Let every stream reach the target by an edge, and every second one the head as well."""
    sources = [name for name in streams if name != target]
    kinds = ("residual", "attention", "weighted")
    return {
        "encoders": {
            name: {"kind": kind, "dim": 8, "num_layers": layers if name == target else 1}
            | ({"patch_length": 3} if kind == "patch" else {})
            for name, kind in streams.items()
        },
        "interactions": [
            {"kind": kinds[place % 3], "from": f"{name}.1", "to": f"{target}.2"}
            for place, name in enumerate(sources)
        ],
        "head": {"kind": "quantile", "dim": 8, "reads": [f"{name}.out" for name in sources[::2]]},
        "window_normalization": False,
    }


def hourly_world(days: int = 16) -> World:
    """An hourly target with every role and way of becoming known beside it."""
    origin = START + 12 * DAY + 7 * HOUR
    random = np.random.default_rng(7)
    ahead = pd.date_range(START, periods=24 * days + 48, freq="h")
    slots = pd.date_range(START, periods=8 * days, freq="3h")

    def events(count: int, seed: int) -> pd.DatetimeIndex:
        minutes = np.random.default_rng(seed).choice(days * 1440, count, replace=False)
        return START + pd.to_timedelta(np.sort(minutes), unit="min")

    def alarms(place: int) -> pd.DataFrame:
        times = events(220, place)
        kinds = random.choice(["pump", "valve", "fan", "door"], len(times))
        return pd.DataFrame(
            {"time": times, "severity": random.gamma(2, 2, len(times)), "kind": kinds,
             "urgent": random.integers(0, 2, len(times))}
        )  # fmt: skip

    def orders(place: int) -> pd.DataFrame:
        # From two hours before the period begins to a day and a half after, some much later.
        known = slots + shuffled_delays(len(slots), -2, 36, place)
        known = known.where(np.arange(len(slots)) % 11 != 5, known + 9 * DAY)
        return pd.DataFrame(
            {"time": slots, "published": known, "orders": random.normal(5, 2, len(slots))}
        )

    def surveys(place: int) -> pd.DataFrame:
        times = events(120, 10 + place)
        known = times + shuffled_delays(len(times), 0, 60, 20 + place)
        return pd.DataFrame(
            {"time": times, "published": known, "score": random.normal(0, 1, len(times))}
        )

    def outlook(place: int) -> pd.DataFrame:
        known = ahead - shuffled_delays(len(ahead), -3, 9, 30 + place)
        return pd.DataFrame(
            {"time": ahead, "published": known, "measured": random.normal(0, 1, len(ahead)),
             "expected": random.normal(0, 1, len(ahead))}
        )  # fmt: skip

    notes_at, meetings_at = events(90, 40), events(400, 41)
    dates = START + DAY * np.cumsum(np.tile([1, 3, 1, 2], 2)[: days // 2])
    prices_known = ahead.floor("6h") - HOUR
    frames = {
        "load": per_item(lambda place: _load(place, days)),
        "alarms": per_item(alarms),
        "notes": pd.DataFrame({"time": notes_at, "body": sentences(len(notes_at), 1)}),
        "reports": pd.DataFrame({"time": dates, "body": sentences(len(dates), 2)}),
        "roster": per_item(
            lambda place: pd.DataFrame(
                {"time": ahead, "team": random.choice(list("abcdefgh"), len(ahead))}
            )
        ),
        "prices": pd.DataFrame(
            {"time": ahead, "published": prices_known, "price": random.normal(40, 9, len(ahead))}
        ),
        "orders": per_item(orders),
        "surveys": per_item(surveys),
        "outlook": per_item(outlook),
        "meetings": pd.DataFrame(
            {"time": meetings_at,
             "published": meetings_at - shuffled_delays(len(meetings_at), -3, 6, 42),
             "size": random.gamma(2, 2, len(meetings_at))}
        ),
        "site": pd.DataFrame(
            {"item": ITEMS, "area": [1.0, 2.0], "owner": ["ada", "bob"], "coastal": [0, 1]}
        ),
    }  # fmt: skip
    streams = {
        "load": {"target": ["load"], "past": ["staff"], "context_length": "24h", "item": "item"},
        "alarms": {
            "stamp": "event", "delay": "45min", "context_length": "12h", "item": "item",
            "past": ["severity", "kind", "urgent"], "category": ["kind"], "flag": ["urgent"],
            "hash_buckets": {"kind": 64},
        },
        "notes": {"text": ["body"], "context_length": "3d", "text_features": TFIDF,
                  "stamp": "event"},
        "reports": {"text": ["body"], "context_length": "6d", "text_features": TFIDF},
        "roster": {
            "future": ["team"], "category": ["team"], "hash_buckets": {"team": 64},
            "known_ahead": "3h", "context_length": "6h", "item": "item",
        },
        "prices": {"future": ["price"], "context_length": "6h"},
        "orders": {"past": ["orders"], "context_length": "2d", "delay": "30min", "item": "item"},
        "surveys": {"past": ["score"], "context_length": 6, "item": "item"},
        "outlook": {"past": ["measured"], "future": ["expected"], "context_length": "8h",
                    "delay": "1h", "item": "item"},
        "meetings": {"future": ["size"], "context_length": "12h", "stamp": "event"},
        "site": {"static": ["area", "owner", "coastal"], "category": ["owner"],
                 "flag": ["coastal"], "hash_buckets": {"owner": 8}, "item": "item"},
        "days": {"calendar": ["hour", "weekday", "time_of_day"]},
    }  # fmt: skip
    encoders = {
        "load": "patch", "alarms": "conv", "notes": "mlp", "reports": "mlp", "roster": "conv",
        "prices": "patch", "orders": "patch", "surveys": "conv", "outlook": "conv",
        "meetings": "conv", "site": "mlp", "days": "conv",
    }  # fmt: skip
    rules = {
        "load": Rule(after(HOUR)),
        "alarms": Rule(after(0.75 * HOUR)),
        "notes": Rule(after(0 * HOUR)),
        "reports": Rule(after(DAY)),
        "roster": Rule(always, ("team",), after(-3 * HOUR)),
        "prices": Rule(always, ("price",), published()),
        "orders": Rule(published(0.5 * HOUR)),
        "surveys": Rule(published()),
        "outlook": Rule(
            lambda rows: np.maximum(rows["time"] + 2 * HOUR, published(HOUR)(rows)),
            ("expected",),
            published(HOUR),
        ),
        "meetings": Rule(always, ("size",), published()),
        "site": Rule(always),
    }
    settings = _settings(frames, streams, "6h", _model(encoders, "load"))
    return World(frames, settings, origin, rules)


def late_target_world(days: int = 16) -> World:
    """A target that becomes known late and out of order, with a plan in its own table."""
    origin = START + 12 * DAY + 7 * HOUR

    def load(place: int) -> pd.DataFrame:
        rows = _load(place, days)
        known = rows["time"] + shuffled_delays(len(rows), 1, 8, place)
        # Just in time, before the one that follows it.
        known[rows["time"] == origin - 2 * HOUR] = origin
        known[rows["time"] == origin - HOUR] = origin + HOUR
        return rows.assign(published=known)

    def plan(place: int) -> pd.DataFrame:
        rows = _load(place, days + 2).rename(columns={"staff": "planned"})
        known = rows["time"] - shuffled_delays(len(rows), 0, 24, 5 + place)
        rows.loc[rows["time"] >= START + days * DAY, "load"] = np.nan
        return rows.assign(published=known)

    frames = {"load": per_item(load), "plan": per_item(plan)}
    frames["plan"] = frames["plan"].drop(columns="load")
    streams = {
        "load": {"target": ["load"], "past": ["staff"], "context_length": "24h", "item": "item"},
        "plan": {"future": ["planned"], "context_length": "6h", "item": "item"},
        "days": {"calendar": ["hour"]},
    }
    rules = {"load": Rule(published()), "plan": Rule(always, ("planned",), published())}
    encoders = {"load": "conv", "plan": "conv", "days": "conv"}
    return World(frames, _settings(frames, streams, "6h", _model(encoders, "load")), origin, rules)


def planned_target_world(days: int = 16) -> World:
    """A target whose own table holds the plan of the horizon, told some time ahead."""
    origin = START + 12 * DAY + 7 * HOUR

    def load(place: int) -> pd.DataFrame:
        rows = _load(place, days + 2).rename(columns={"staff": "planned"})
        rows.loc[rows["time"] >= START + days * DAY, "load"] = np.nan
        return rows.assign(published=rows["time"] - shuffled_delays(len(rows), 0, 24, place))

    frames = {"load": per_item(load)}
    streams = {
        "load": {"target": ["load"], "future": ["planned"], "context_length": "24h",
                 "delay": "90min", "item": "item"},
        "days": {"calendar": ["hour"]},
    }  # fmt: skip
    rules = {
        "load": Rule(
            lambda rows: np.maximum(rows["time"] + 2.5 * HOUR, published(1.5 * HOUR)(rows)),
            ("planned",),
            published(1.5 * HOUR),
        )
    }
    model = _model({"load": "conv", "days": "conv"}, "load")
    return World(frames, _settings(frames, streams, "6h", model), origin, rules)


def daily_world() -> World:
    """A daily target on local days, with weeks and months beside it, across a change of clocks."""
    zone = "Europe/Berlin"
    random = np.random.default_rng(3)
    origin = pd.Timestamp("2024-11-01", tz=zone)
    days = pd.date_range("2022-07-01", "2025-01-31", freq="D", tz=zone)
    weeks = pd.date_range("2022-07-04", "2025-01-27", freq="7D", tz=zone)
    months = pd.date_range("2022-01-01", "2025-01-31", freq="MS")
    month_ends = (months + pd.offsets.MonthEnd(0)).tz_localize(zone)
    quarters = (months[::3] + pd.offsets.QuarterEnd(0)).tz_localize(zone)
    hours = pd.date_range("2024-05-01", "2024-12-31", freq="h", tz=zone)
    frames = {
        "sales": pd.DataFrame({"time": days, "sales": random.normal(10, 1, len(days))}),
        "weekly": pd.DataFrame({"time": weeks, "index": random.normal(0, 1, len(weeks))}),
        "monthly": pd.DataFrame({"time": month_ends, "prices": random.normal(0, 1, len(months))}),
        "quarterly": pd.DataFrame({"time": quarters, "gdp": random.normal(0, 1, len(quarters))}),
        "hourly": pd.DataFrame({"time": hours, "heat": random.normal(0, 1, len(hours))}),
    }
    streams = {
        "sales": {"target": ["sales"], "context_length": "21d", "time_zone": zone},
        "weekly": {"context_length": "28d", "time_zone": zone},
        "monthly": {"context_length": "6mo", "time_zone": zone, "delay": "10d"},
        "quarterly": {"context_length": 4, "time_zone": zone},
        "hourly": {"context_length": "2d", "time_zone": zone},
        "days": {"calendar": ["weekday", "month", "time_of_year"]},
    }
    encoders = {
        "sales": "patch", "weekly": "conv", "monthly": "mlp", "quarterly": "mlp",
        "hourly": "patch", "days": "conv",
    }  # fmt: skip
    rules = {
        # Local days and weeks, whatever the clocks do.
        "sales": Rule(lambda rows: rows["time"] + pd.DateOffset(days=1)),
        "weekly": Rule(lambda rows: rows["time"] + pd.DateOffset(days=7)),
        "monthly": Rule(lambda rows: rows["time"] + pd.DateOffset(days=1) + 10 * DAY),
        "quarterly": Rule(lambda rows: rows["time"] + pd.DateOffset(days=1)),
        "hourly": Rule(after(HOUR)),
    }
    settings = _settings(frames, streams, "7d", _model(encoders, "sales"))
    settings["data"]["time_zone"] = zone
    return World(frames, settings, origin, rules)


def monthly_world() -> World:
    """A monthly target with daily rows, events and a coarser future beside it."""
    random = np.random.default_rng(4)
    origin = pd.Timestamp("2024-02-01")
    months = pd.date_range("2015-01-01", "2026-12-01", freq="MS")
    days = pd.date_range("2015-01-01", "2026-12-31", freq="D")
    minutes = np.random.default_rng(5).choice(len(days) * 1440, 400, replace=False)
    events = days[0] + pd.to_timedelta(np.sort(minutes), unit="min")
    quarters = pd.date_range("2015-01-01", "2027-12-01", freq="QS")
    frames = {
        "sales": pd.DataFrame(
            {"time": months, "published": months + pd.DateOffset(months=1) + 14 * DAY,
             "sales": random.normal(10, 1, len(months))}
        ),
        "weather": pd.DataFrame({"time": days, "rain": random.gamma(2, 2, len(days))}),
        "news": pd.DataFrame({"time": events, "body": sentences(len(events), 3)}),
        "budget": pd.DataFrame({"time": quarters, "budget": random.normal(5, 1, len(quarters))}),
    }  # fmt: skip
    streams = {
        "sales": {"target": ["sales"], "context_length": "1y"},
        "weather": {"context_length": "2mo"},
        "news": {
            "text": ["body"],
            "context_length": "2mo",
            "text_features": TFIDF,
        },
        "budget": {"future": ["budget"], "context_length": "1y", "known_ahead": "40d"},
        "year": {"calendar": ["month"]},
    }
    rules = {
        "sales": Rule(published()),
        "weather": Rule(after(DAY)),
        "news": Rule(after(0 * DAY)),
        "budget": Rule(always, ("budget",), after(-40 * DAY)),
    }
    encoders = {
        "sales": "conv", "weather": "patch", "news": "conv", "budget": "conv", "year": "conv"
    }  # fmt: skip
    settings = _settings(frames, streams, "6mo", _model(encoders, "sales"))
    return World(frames, settings, origin, rules)


def _settings(
    frames: Frames, streams: dict[str, dict[str, Any]], horizon: str, model: dict[str, Any]
) -> dict[str, Any]:
    """Complete a config: paths, the column of times, and of availability where there is one."""
    for name, frame in frames.items():
        streams[name]["path"] = f"{name}.csv"
        for key, column in (("time", "time"), ("available_at", "published")):
            if column in frame:
                streams[name][key] = column
    return {
        "name": "world",
        "seed": 1,
        "data": {"horizon": horizon, "streams": streams},
        "model": model,
        "tracking": {"enabled": False},
    }


WORLDS: dict[str, Callable[[], World]] = {
    "hourly": hourly_world,
    "late target": late_target_world,
    "planned target": planned_target_world,
    "daily": daily_world,
    "monthly": monthly_world,
}
