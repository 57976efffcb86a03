//! Pictures from elsewhere: what [`Client`] has to say to the service that makes them.

use mana_types::MediaId;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::Order;
use crate::client::{Again, Client, Result, read_json};

/// Pictures that were made, as they are spoken over HTTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MadeBody {
    /// Each of them.
    pub images: Vec<MadeImage>,
    /// By which model.
    pub model: String,
    /// For how many credits.
    pub credits: i64,
}

/// One of them.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MadeImage {
    /// The file.
    pub media_id: MediaId,
}

#[derive(Deserialize)]
struct Credits {
    credits: i64,
}

impl Client {
    /// Has pictures made. Asked for only once; a key makes it safe to ask again.
    pub async fn make_pictures(&self, order: &Order, key: Option<&str>) -> Result<MadeBody> {
        let path = if order.needs_reference { "generate-with-reference" } else { "generate" };
        let path = format!("/api/v1/picture/{path}");
        let body = json!({
            "prompt": order.prompt,
            "referenceMediaIds": order.references,
            "model": order.model,
            "quality": order.quality,
            "size": order.size,
            "n": order.count,
        });
        let request = || {
            let request = self.request(Method::POST, &path, &self.acting()).json(&body);
            match key {
                Some(key) => request.header("idempotency-key", key),
                None => request,
            }
        };
        read_json(self.send(Again::Never, request).await?).await
    }

    /// What the user has left to have pictures made.
    pub async fn picture_credits(&self) -> Result<i64> {
        let request = || self.request(Method::GET, "/api/v1/picture/credits", &self.acting());
        Ok(read_json::<Credits>(self.send(Again::Safe, request).await?).await?.credits)
    }
}
