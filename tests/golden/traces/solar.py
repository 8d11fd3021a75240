#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes solar-day.csv: a board of 2.5 W with a panel and a battery of 20 Wh, one day, a line each minute.

Clouds pass between 11:00 and 13:00, where the charger switches back and forth; nobody reports for ten minutes at 16:00.
"""
import math
import sys

CAPACITY_WH, LOAD_W, PANEL_W = 20.0, 2.5, 9.0


def panel(minute):
    """Watts: a half sine from 07:00 to 19:00, with clouds that come and go every three minutes around noon."""
    hours = minute / 60
    sun = max(0.0, math.sin(math.pi * (hours - 7) / 12)) if 7 <= hours <= 19 else 0.0
    cloud = 0.15 if 11 <= hours < 13 and minute % 6 < 3 else 1.0
    return PANEL_W * sun * cloud


def main():
    charge = 0.42 * CAPACITY_WH
    print("seconds,time-of-day,on-battery,battery-percent,battery-state,temperature of cpu-thermal,"
          "trip-distance of cpu-thermal,telemetry of panel-watts")
    for minute in range(24 * 60 + 1):
        watts = panel(minute)
        charge = min(CAPACITY_WH, max(0.0, charge + (watts - LOAD_W) / 60))
        on_battery = watts < LOAD_W
        state = "full" if charge >= CAPACITY_WH else "discharging" if on_battery else "charging"
        heat = 42 + 22 * max(0.0, math.sin(math.pi * (minute / 60 - 8) / 14)) + (18 if 15.0 <= minute / 60 < 15.5 else 0)
        clock = f"{minute // 60 % 24:02d}:{minute % 60:02d}"
        battery = f"{'true' if on_battery else 'false'},{100 * charge / CAPACITY_WH:.1f},{state}"
        if 960 <= minute < 970:
            battery = ",,"
        print(f"{minute * 60},{clock},{battery},{heat:.1f},{85 - heat:.1f},{watts:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
