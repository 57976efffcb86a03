//! The addresses at which pictures are asked for.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::routing::{get, post};
use http::{HeaderMap, HeaderValue, header};
use mana_token::Verifier;
use mana_types::UserId;
use mana_web::{FieldError, Json, Problem, QueryOf, RawBody, ServiceKeys, StatusCode, bearer_token};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Made, Order, PictureError, Pictures};
use crate::DoorOptions;
use crate::addresses::Addresses;
use crate::media::Variant;

#[derive(Debug, Clone)]
struct App {
    pictures: Pictures,
    verifier: Arc<Verifier>,
    keys: ServiceKeys,
    addresses: Arc<Addresses>,
}

impl FromRef<App> for Arc<Verifier> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.verifier)
    }
}

/// The routes of pictures, with addresses of files as the doors of media have them.
pub fn router(pictures: Pictures, verifier: Arc<Verifier>, keys: ServiceKeys, doors: &DoorOptions) -> Router {
    let app = App { pictures, verifier, keys, addresses: Arc::new(Addresses::new(doors)) };
    Router::new()
        .route("/api/v1/picture/generate", post(generate))
        .route("/api/v1/picture/generate-with-reference", post(generate_with_reference))
        .route("/api/v1/picture/credits", get(credits))
        .with_state(app)
}

/// On whose behalf a program of this installation asks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whose {
    user_id: Option<String>,
}

/// Who asks: a bearer, or a program with a service key, in `X-Service-Key` or as the bearer, that names the user.
async fn caller(app: &App, headers: &HeaderMap, whose: &Whose) -> Result<UserId, Problem> {
    let shown = headers.get("x-service-key").map(|key| key.to_str().unwrap_or_default());
    let token = bearer_token(headers);
    if shown.or(token).is_some_and(|key| app.keys.accept(key)) {
        let user = whose.user_id.as_deref().and_then(|text| text.parse().ok());
        return user.ok_or_else(|| {
            Problem::validation(vec![FieldError::new("userId", "expected the id of the user on whose behalf you ask")])
        });
    }
    if shown.is_some() {
        return Err(Problem::unauthorized("INVALID_SERVICE_KEY", "this is no valid service key"));
    }
    let token = token
        .ok_or_else(|| Problem::unauthorized("UNAUTHORIZED", "send an access token as `Authorization: Bearer …`"))?;
    Ok(app.verifier.verify(token).await?.user_id)
}

async fn credits(
    State(app): State<App>,
    QueryOf(whose): QueryOf<Whose>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let user = caller(&app, &headers, &whose).await?;
    Ok(Json(json!({ "credits": app.pictures.credits(user).await? })))
}

async fn generate(
    State(app): State<App>,
    QueryOf(whose): QueryOf<Whose>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Json<Value>, Problem> {
    let user = caller(&app, &headers, &whose).await?;
    answer(&app, user, &headers, &Json::read(&body)?.0, false).await
}

async fn generate_with_reference(
    State(app): State<App>,
    QueryOf(whose): QueryOf<Whose>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Json<Value>, Problem> {
    let user = caller(&app, &headers, &whose).await?;
    answer(&app, user, &headers, &Json::read(&body)?.0, true).await
}

async fn answer(
    app: &App,
    user: UserId,
    headers: &HeaderMap,
    body: &Value,
    needs_reference: bool,
) -> Result<Json<Value>, Problem> {
    let key = match headers.get("idempotency-key") {
        None => None,
        Some(value) => Some(value.to_str().map_err(|_| PictureError::InvalidKey)?.to_owned()),
    };
    let order = read(body, needs_reference);
    let made = app.pictures.make(user, order, key).await?;
    let now = app.pictures.0.db.now().await.map_err(PictureError::from)?;
    Ok(Json(written(&made, |id, variant| app.addresses.of(id, variant, now))))
}

/// An order out of whatever was sent. What is not of its kind counts as not said, so that every refusal comes in its turn;
/// a model, a quality or a size that is no text is one that nobody knows.
fn read(body: &Value, needs_reference: bool) -> Order {
    let text = |name: &str| match &body[name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let references = body["referenceMediaIds"].as_array().into_iter().flatten();
    Order {
        prompt: body["prompt"].as_str().unwrap_or_default().to_owned(),
        references: references.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)).collect(),
        needs_reference,
        model: text("model"),
        quality: text("quality"),
        size: text("size"),
        #[expect(clippy::cast_possible_truncation, reason = "held within 1 and 4 next")]
        count: body["n"].as_i64().or_else(|| body["n"].as_f64().map(|n| n as i64)).unwrap_or(1),
    }
}

fn written(made: &Made, url: impl Fn(mana_types::MediaId, Option<Variant>) -> String) -> Value {
    let images: Vec<Value> = made
        .images
        .iter()
        .map(|id| json!({ "imageUrl": url(*id, None), "mediaId": id, "thumbnailUrl": url(*id, Some(Variant::Thumb)) }))
        .collect();
    let mut answer = json!({
        "images": images,
        "prompt": made.prompt,
        "model": made.model,
        "referenceMediaIds": made.references,
        "mode": if made.references.is_empty() { "generate" } else { "edit" },
        "credits": made.credits,
    });
    // The first one once more, for clients that know only one.
    if let (Value::Object(answer), Some(Value::Object(first))) = (&mut answer, images.into_iter().next()) {
        answer.extend(first);
    }
    answer
}

/// The one place where an error of pictures becomes a status.
impl From<PictureError> for Problem {
    fn from(error: PictureError) -> Self {
        let detail = error.to_string();
        let wrong = |status, code| Self::new(status, code, detail.clone());
        let field = |name: &str| Self::validation(vec![FieldError::new(name, detail.clone())]);
        match error {
            PictureError::Prompt(_) => field("prompt"),
            PictureError::NoReference => field("referenceMediaIds"),
            PictureError::TooManyReferences { limit } => field("referenceMediaIds").with("limit", json!(limit)),
            PictureError::NoProvider => wrong(StatusCode::SERVICE_UNAVAILABLE, "NO_PROVIDER"),
            PictureError::UnknownModel { .. } => field("model"),
            PictureError::Setting { field: name, .. } => field(name),
            PictureError::InvalidKey => field("Idempotency-Key"),
            PictureError::Credits { required, available } => wrong(StatusCode::PAYMENT_REQUIRED, "CREDITS_EXHAUSTED")
                .with("required", json!(required))
                .with("available", json!(available)),
            PictureError::Missing(missing) => wrong(StatusCode::NOT_FOUND, "NOT_FOUND").with("missing", json!(missing)),
            PictureError::Unreadable { id, ref cause } => {
                tracing::warn!(media = %id, error = %mana_web::causes(&**cause), "media.picture.reference_unreadable");
                wrong(StatusCode::BAD_GATEWAY, "REFERENCE_UNREADABLE").with("mediaId", json!(id))
            }
            PictureError::Provider(_) => wrong(StatusCode::BAD_GATEWAY, "PROVIDER_FAILED"),
            PictureError::Underway => {
                wrong(StatusCode::CONFLICT, "UNDERWAY").header(header::RETRY_AFTER, HeaderValue::from_static("5"))
            }
            PictureError::KeyReused => wrong(StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED"),
            PictureError::UnknownUser => Self::not_found("user"),
            PictureError::Media(error) => error.into(),
            PictureError::Store(error) => crate::Error::from(error).into(),
            PictureError::Task(_) => Self::internal(&error),
        }
    }
}
