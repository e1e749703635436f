//! Reports as one HTML file that opens anywhere: no script, no request to any host, charts as SVG.
//!
//! ```text
//!  rows ─▶ draw (plotters, SVG) ─┐
//!       └▶ section (table, words) ┴▶ page.html, page.css
//! ```
//!
//! - `section` turns one result into what the template shows of it; the report's header says how it is drawn.
//! - [`Page`] is the whole report: which reports in which order is `plan`.
//! - [`Html`] is a sink for one report; [`Live`] has the pages for a browser that asks again.

mod draw;
mod headline;
mod html;
mod live;
mod plan;
mod section;
mod template;
mod whole;

pub use html::Html;
pub use live::{Given, Live, Told, refusal};
pub use whole::{Asking, Page, Style};
