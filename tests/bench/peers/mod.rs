//! What users have today, beside deskledger in the same run: a row for each desktop and poll, and dlt.

mod dlt;
mod rows;

use super::figures::Figures;
use super::server::Server;
use super::{Asked, Outcome};

pub async fn measure(server: &Server, asked: &Asked, figures: &mut Figures) -> Outcome {
    rows::measure(server, asked, figures).await?;
    dlt::measure(server, asked, figures).await
}
