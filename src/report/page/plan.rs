//! Which reports the whole report has, in which order, and why a reader should care.

/// A report's place in the whole one.
pub(super) struct Place {
    pub report: &'static str,
    /// What it answers; the reader may never have seen a terminal.
    pub about: &'static str,
    /// Parameters beside period, time zone and source.
    pub values: &'static [(&'static str, &'static str)],
    /// Drawn in this way, as in a report's header, instead of the report's own.
    pub chart: Option<&'static [&'static str]>,
    /// Takes the instants of this column of another report as marks.
    pub marks: Option<(&'static str, &'static str)>,
}

const fn place(report: &'static str, about: &'static str) -> Place {
    Place { report, about, values: &[], chart: None, marks: None }
}

/// In the order of the page.
pub(super) const PLACES: &[Place] = &[
    place(
        "utilisation",
        "How many desktops there were and how many of them were connected, bucket by bucket. A peak is sampled: the \
         true one may be higher.",
    ),
    place(
        "busy-hours",
        "When in the week the fleet is full, and when there is room for maintenance.",
    ),
    place(
        "concurrency",
        "The number of connections that was not exceeded during 50, 90, 95 and 99 % of the observed time, and the \
         highest seen.",
    ),
    place("distribution", "For how many hours how many desktops were connected at once."),
    Place {
        marks: Some(("outages", "observed_at")),
        ..place(
            "disconnects",
            "Connections that ended with a disconnect, for each 100 connected hours: a closed window or a broken \
             network; the cloud does not say which. Triangles mark steps in which many disconnected at once.",
        )
    },
    place(
        "outages",
        "The steps in which an unusual share of the connected desktops disconnected at once.",
    ),
    Place {
        values: &[("bucket", "all")],
        chart: Some(&["bars  static_name  in_use_pct", "per  source", "unit  desktops"]),
        ..place(
            "group-utilisation",
            "The groups side by side, over the whole period, as the cloud itself counts them.",
        )
    },
    place(
        "comparison",
        "What is more and what is less than in the period of the same length just before. Coverage tells of the \
         recorder and not of the fleet, so no change is told of it.",
    ),
    place("capacity", "How many desktops would have served the peak, and under which assumptions."),
    place(
        "forecast",
        "The daily peak to be expected, with a band, and how well the same method would have done before.",
    ),
    place(
        "idle-desktops",
        "Desktops that are there now, were observed well enough to tell, and were not connected to up to now: also after \
         the end of a period that is over.",
    ),
    place("lingering", "Desktops whose sessions stay disconnected for long."),
    place("flapping", "Desktops that disconnect again and again."),
    place("coverage", "What all of this rests on: how much of the time was observed at all."),
];
