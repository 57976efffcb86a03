//! Pictures made by a model: out of a few words, and after pictures that the user has.
//!
//! Credits are reserved before anything is sent and settled after. The work goes on when its caller goes away, so that
//! what was paid for is kept: the pictures as media of the app `picture`, the answer under the caller's key.

mod client;
mod error;
mod models;
mod provider;
mod routes;
mod store;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mana_store::Db;
use mana_types::{MediaId, Random, UserId, input_hash};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::Instrument;
use uuid::Uuid;

pub use self::client::{MadeBody, MadeImage};
pub use self::error::PictureError;
pub use self::provider::Provider;
use self::provider::{Line, Wanted};
pub use self::routes::router;
use self::store::{NewWish, Opened};
use crate::{Media, Upload};

/// The longest description of a picture.
const PROMPT: usize = 4_000;
/// The most pictures to go by.
const REFERENCES: usize = 8;
/// The most pictures of one wish.
const COUNT: i64 = 4;
/// The apps whose pictures may be gone by.
const APPS: [&str; 3] = ["me", "wardrobe", "comic"];
/// How a picture may be cut.
const SIZES: [&str; 7] = ["auto", "1024x1024", "1536x1024", "1024x1536", "512x512", "256x256", "1792x1024"];
/// How long a reservation outlives the time that the provider has.
const SLACK: Duration = Duration::from_mins(2);

/// What an installation decides about pictures.
#[derive(Debug, Clone)]
pub struct PictureOptions {
    /// Who makes them; none: nobody.
    pub provider: Option<Provider>,
    /// How many credits a user has to begin with.
    pub credits: i64,
}

impl Default for PictureOptions {
    fn default() -> Self {
        Self { provider: None, credits: 100 }
    }
}

/// A wish for pictures.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// What they should show.
    pub prompt: String,
    /// Pictures to go by, as they were named. What is no id is nobody's picture.
    pub references: Vec<String>,
    /// Whether it makes no sense without pictures to go by.
    pub needs_reference: bool,
    /// By which model; the usual one if left out.
    pub model: Option<String>,
    /// How well.
    pub quality: Option<String>,
    /// How large.
    pub size: Option<String>,
    /// How many; held within 1 and 4.
    pub count: i64,
}

/// Pictures that were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// The files, of the app `picture`.
    pub images: Vec<MediaId>,
    /// By which model.
    pub model: String,
    /// What they should show.
    pub prompt: String,
    /// What was gone by.
    pub references: Vec<MediaId>,
    /// What they took.
    pub credits: i64,
}

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pictures(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    media: Media,
    db: Db,
    random: Arc<dyn Random>,
    options: PictureOptions,
    line: Option<Line>,
}

/// An order that the provider could be given.
struct Checked {
    order: Order,
    model: String,
    known: &'static models::Model,
    references: Vec<String>,
    count: u8,
    price: i64,
}

impl Pictures {
    /// The service over this database and these files. The error says what is wrong with the options.
    pub fn new(media: Media, db: Db, random: Arc<dyn Random>, options: PictureOptions) -> Result<Self, String> {
        let line = options.provider.as_ref().map(Line::new).transpose()?;
        Ok(Self(Arc::new(Inner { media, db, random, options, line })))
    }

    /// What a user has left to have pictures made.
    pub async fn credits(&self, user: UserId) -> Result<i64, PictureError> {
        let now = self.0.db.now().await?;
        Ok(store::credits(&self.0.db, user, now).await?.unwrap_or(self.0.options.credits))
    }

    /// Has pictures made. Under a key the same wish is fulfilled once, and its answer repeated for nothing.
    #[tracing::instrument(name = "media.picture.make", skip_all, fields(user = %user))]
    pub async fn make(&self, user: UserId, order: Order, key: Option<String>) -> Result<Made, PictureError> {
        let checked = self.check(order)?;
        if key
            .as_ref()
            .is_some_and(|key| !(1..=200).contains(&key.chars().count()) || key.chars().any(char::is_control))
        {
            return Err(PictureError::InvalidKey);
        }
        let this = self.clone();
        // A task of its own: whoever asked may go away, the reservation is settled all the same.
        tokio::spawn(async move { this.reserved(user, checked, key).await }.in_current_span()).await?
    }

    /// What can be said about a wish without looking anything up, in the order of the contract.
    fn check(&self, mut order: Order) -> Result<Checked, PictureError> {
        order.prompt = String::from(order.prompt.trim());
        let length = order.prompt.chars().count();
        if length == 0 || length > PROMPT || order.prompt.contains('\0') {
            return Err(PictureError::Prompt(PROMPT));
        }
        let mut references: Vec<String> = Vec::new();
        for id in &order.references {
            if !references.contains(id) {
                references.push(id.clone());
            }
        }
        if order.needs_reference && references.is_empty() {
            return Err(PictureError::NoReference);
        }
        if order.references.len() > REFERENCES {
            return Err(PictureError::TooManyReferences { limit: REFERENCES });
        }
        let provider = self.0.options.provider.as_ref().ok_or(PictureError::NoProvider)?;
        let offered: Vec<&str> = match &*provider.models {
            [] => models::names().collect(),
            some => some.iter().map(String::as_str).collect(),
        };
        let model = order.model.clone().unwrap_or_else(|| offered.first().copied().unwrap_or_default().to_owned());
        let known = models::model(&model).filter(|_| offered.contains(&&*model));
        let known = known.ok_or_else(|| PictureError::UnknownModel {
            model: model.chars().take(60).collect(),
            known: offered.join(", "),
        })?;
        let price = known.price(order.quality.as_deref()).ok_or_else(|| PictureError::Setting {
            field: "quality",
            expected: known.qualities().chain(["auto"]).collect::<Vec<_>>().join(", "),
        })?;
        if order.size.as_deref().is_some_and(|size| !SIZES.contains(&size)) {
            return Err(PictureError::Setting { field: "size", expected: SIZES.join(", ") });
        }
        let count = u8::try_from(order.count.clamp(1, COUNT)).unwrap_or(1);
        Ok(Checked { order, model, known, references, count, price })
    }

    async fn reserved(&self, user: UserId, checked: Checked, key: Option<String>) -> Result<Made, PictureError> {
        let Inner { db, random, options, .. } = &*self.0;
        let mut id = [0; 16];
        random.fill(&mut id);
        let now = db.now().await?;
        let patience = options.provider.as_ref().map_or(SLACK, |provider| provider.timeout + SLACK);
        let wish = NewWish {
            id: Uuid::from_bytes(id),
            user,
            key,
            input: input_hash(&checked.described()),
            reserved: checked.price * i64::from(checked.count),
            expires: now.plus_millis(i64::try_from(patience.as_millis()).unwrap_or(i64::MAX)),
        };
        let opened = store::open(db, &wish, options.credits, now).await.map_err(|error| match error {
            mana_store::Error::Dangling(_) => PictureError::UnknownUser,
            error => error.into(),
        })?;
        match opened {
            Opened::Reserved => {}
            Opened::Answered(answer) => {
                let damaged = |error: serde_json::Error| mana_store::Error::Damaged {
                    what: "picture_wish",
                    why: error.to_string(),
                };
                return Ok(serde_json::from_value(answer).map_err(damaged)?);
            }
            Opened::Underway => return Err(PictureError::Underway),
            Opened::KeyReused => return Err(PictureError::KeyReused),
            Opened::Short(available) => return Err(PictureError::Credits { required: wish.reserved, available }),
        }
        let made = self.made(user, &checked).await;
        let outcome = if made.is_ok() { "ok" } else { "failed" };
        metrics::counter!("mana_pictures_total", "model" => checked.model.clone(), "outcome" => outcome).increment(1);
        let (spent, answer) = match &made {
            Ok(made) => (made.credits, Some(json!(made))),
            Err(_) => (0, None),
        };
        if let Err(error) = store::settle(db, &wish, spent, answer).await {
            // The reservation runs out by itself; the pictures are the user's all the same.
            tracing::error!(error = %mana_web::causes(&error), "media.picture.not_settled");
        }
        made
    }

    async fn made(&self, user: UserId, checked: &Checked) -> Result<Made, PictureError> {
        let Inner { media, random, line, .. } = &*self.0;
        let line = line.as_ref().ok_or(PictureError::NoProvider)?;
        let references = self.owned(user, &checked.references).await?;
        let mut pictures = Vec::new();
        for id in &references {
            let picture = media.reference(*id, user).await;
            pictures.push(picture.map_err(|cause| PictureError::Unreadable { id: *id, cause: Box::new(cause) })?);
        }
        let wanted = Wanted {
            model: &checked.model,
            known: checked.known,
            prompt: &checked.order.prompt,
            quality: checked.order.quality.as_deref(),
            size: checked.order.size.as_deref(),
            count: checked.count,
            references: pictures,
        };
        let answered = line.make(&wanted, &**random).await.map_err(PictureError::Provider)?;
        let mut images = Vec::new();
        for bytes in answered {
            images.push(self.keep(user, bytes).await?);
        }
        let credits = checked.price * i64::try_from(images.len()).unwrap_or(COUNT);
        Ok(Made { images, model: checked.model.clone(), prompt: checked.order.prompt.clone(), references, credits })
    }

    /// The ids of pictures that the user has for an app whose pictures may be gone by.
    async fn owned(&self, user: UserId, named: &[String]) -> Result<Vec<MediaId>, PictureError> {
        let ids: Vec<MediaId> = named.iter().filter_map(|text| text.parse().ok()).collect();
        let missing = self.0.media.verify_ownership(user, &ids, &APPS).await?;
        let is_missing = |text: &&String| text.parse().map_or(true, |id: MediaId| missing.contains(&id));
        let missing: Vec<String> = named.iter().filter(is_missing).cloned().collect();
        if missing.is_empty() { Ok(ids) } else { Err(PictureError::Missing(missing)) }
    }

    async fn keep(&self, user: UserId, bytes: Bytes) -> Result<MediaId, PictureError> {
        let upload = Upload {
            user,
            app: Some("picture".into()),
            name: "picture.png".into(),
            declared: None,
            skip_processing: false,
        };
        Ok(self.0.media.put(upload, bytes).await?.id)
    }
}

impl Checked {
    /// What a wish is recognised by under its key.
    fn described(&self) -> Value {
        json!({
            "prompt": self.order.prompt,
            "references": self.references,
            "model": self.model,
            "quality": self.order.quality,
            "size": self.order.size,
            "count": self.count,
        })
    }
}
