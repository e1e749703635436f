//! Reports as one HTML file that opens anywhere: no script, no request to any host, charts as SVG.
//!
//! ```text
//!  rows ─▶ draw (plotters, SVG) ─┐
//!       └▶ section (table, words) ┴▶ page.html, page.css
//! ```
//!
//! - `section` turns one result into what the template shows of it; the report's header says how it is drawn. `table` lays its
//!   rows out, `figure` knows units and lower bounds, `bucket` which rows are of a part of a bucket.
//! - [`Page`] is the whole report: which reports in which order is `plan`.
//! - [`Html`] is a sink for one report; [`Live`] has the pages for a browser that asks again.

mod bucket;
mod draw;
mod figure;
mod headline;
mod html;
mod live;
mod plan;
mod prose;
mod section;
mod sql;
mod table;
mod template;
mod whole;
mod wrong;

pub use html::Html;
pub use live::{Given, Live, Told, detour, refusal};
pub use whole::{Asking, Page, Style};
pub use wrong::Outcome;
