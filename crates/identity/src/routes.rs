//! Identity over HTTP: paths, bodies, status codes.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mana_store::Source;
use mana_store::space::{self, Membership, SpaceKind, SpaceRole};
use mana_token::{Claims, Principal, Proof, Role, TokenError, Verifier};
use mana_types::{Secret, SpaceId, UserId};
use mana_web::{Bearer, FieldError, Json, Problem, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::account::{Account, AccountKind, NewAccount};
use crate::{Error, Identity, InvalidInput, SignedIn};

/// No body here is larger than an e-mail, a password and a name.
const LARGEST_BODY: usize = 64 * 1024;

#[derive(Debug, Clone)]
struct App {
    identity: Identity,
    verifier: Arc<Verifier>,
}

impl FromRef<App> for Arc<Verifier> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.verifier)
    }
}

impl FromRef<App> for Identity {
    fn from_ref(app: &App) -> Self {
        app.identity.clone()
    }
}

/// The routes of identity. The verifier checks the bearers of this service's own tokens.
pub fn router(identity: Identity, verifier: Arc<Verifier>) -> Router {
    Router::new()
        .route("/api/v1/auth/register", post(register))
        .route("/api/v1/auth/login", post(login))
        .route("/api/v1/auth/refresh", post(refresh))
        .route("/api/v1/auth/logout", post(logout))
        .route("/api/v1/auth/session", get(session))
        .route("/api/v1/auth/validate", post(validate))
        .route("/api/auth/jwks", get(jwks))
        .route("/api/v1/auth/jwks", get(jwks))
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/api/auth/organization/list", get(spaces))
        .route("/api/v1/spaces", get(spaces))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(App { identity, verifier })
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Invalid(fields) => Self::validation(fields),
            Error::WeakPassword(weak) => Self::new(StatusCode::BAD_REQUEST, "WEAK_PASSWORD", detail)
                .with("details", json!([FieldError::new("password", weak.to_string())])),
            Error::EmailTaken => Self::new(StatusCode::CONFLICT, "EMAIL_ALREADY_REGISTERED", detail),
            Error::BelongsToPerson => Self::new(StatusCode::CONFLICT, "ACCOUNT_BELONGS_TO_PERSON", detail),
            Error::RegistrationClosed => Self::new(StatusCode::FORBIDDEN, "REGISTRATION_CLOSED", detail),
            Error::InvalidCredentials => Self::unauthorized("INVALID_CREDENTIALS", detail),
            Error::InvalidRefreshToken => Self::unauthorized("INVALID_REFRESH_TOKEN", detail),
            Error::SessionEnded => Self::unauthorized("TOKEN_INVALID", detail),
            Error::Locked { retry_after_secs } => Self::new(StatusCode::TOO_MANY_REQUESTS, "ACCOUNT_LOCKED", detail)
                .with("retryAfter", json!(retry_after_secs))
                .header(header::RETRY_AFTER, HeaderValue::from(retry_after_secs)),
            Error::UnknownAccount => Self::not_found("account"),
            Error::Store(ref cause) if cause.is_transient() => {
                tracing::warn!(error = %cause, "identity.store_unavailable");
                Self::unavailable("accounts cannot be reached at the moment, try again")
            }
            Error::Cost(_) | Error::Hash(_) | Error::HashingStopped(_) | Error::Sign(_) | Error::Store(_) => {
                Self::internal(&error)
            }
        }
    }
}

/// The fields of a body, one by one, so that all wrong ones are named and not only the first.
struct Fields(Map<String, Value>);

impl Fields {
    fn text(&self, name: &str) -> Result<&str, InvalidInput> {
        self.optional_text(name)?.ok_or(InvalidInput("missing, expected a text"))
    }

    fn optional_text(&self, name: &str) -> Result<Option<&str>, InvalidInput> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(InvalidInput("expected a text")),
        }
    }

    /// These fields as secrets; each of them must be there.
    fn secrets<const N: usize>(&self, names: [&'static str; N]) -> Result<[Secret; N], Error> {
        let wrong: Vec<FieldError> =
            names.iter().filter_map(|name| Some(FieldError::new(*name, self.text(name).err()?.to_string()))).collect();
        if wrong.is_empty() {
            Ok(names.map(|name| Secret::new(self.text(name).unwrap_or_default())))
        } else {
            Err(Error::Invalid(wrong))
        }
    }
}

type Body = Json<Map<String, Value>>;

/// An account as its user sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UserBody<'a> {
    id: UserId,
    email: &'a str,
    name: &'a str,
    role: Role,
    kind: AccountKind,
    tier: &'a str,
}

impl<'a> From<&'a Account> for UserBody<'a> {
    fn from(account: &'a Account) -> Self {
        Self {
            id: account.id,
            email: &account.email,
            name: &account.name,
            role: account.role,
            kind: account.kind,
            tier: &account.tier,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SignedInBody<'a> {
    user: UserBody<'a>,
    /// The same as `accessToken`; older clients read this one.
    token: &'a str,
    access_token: &'a str,
    refresh_token: &'a str,
    expires_in: i64,
}

fn tokens(status: StatusCode, signed_in: &SignedIn) -> Response {
    let body = SignedInBody {
        user: UserBody::from(&signed_in.account),
        token: signed_in.access_token.expose(),
        access_token: signed_in.access_token.expose(),
        refresh_token: signed_in.refresh_token.expose(),
        expires_in: signed_in.expires_in,
    };
    (status, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(body)).into_response()
}

async fn register(State(identity): State<Identity>, Json(body): Body) -> Result<Response, Problem> {
    let fields = Fields(body);
    let new = NewAccount::read(fields.text("email"), fields.text("password"), fields.optional_text("name"))?;
    Ok(tokens(StatusCode::CREATED, &identity.sign_up(&new).await?))
}

async fn login(State(identity): State<Identity>, Json(body): Body) -> Result<Response, Problem> {
    let [email, password] = Fields(body).secrets(["email", "password"])?;
    Ok(tokens(StatusCode::OK, &identity.sign_in(email.expose(), &password).await?))
}

async fn refresh(State(identity): State<Identity>, Json(body): Body) -> Result<Response, Problem> {
    let [token] = Fields(body).secrets(["refreshToken"])?;
    Ok(tokens(StatusCode::OK, &identity.refresh(&token).await?))
}

async fn logout(State(identity): State<Identity>, Json(body): Body) -> Result<StatusCode, Problem> {
    let [token] = Fields(body).secrets(["refreshToken"])?;
    identity.sign_out(&token).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SpaceBody {
    id: SpaceId,
    name: String,
    slug: String,
    metadata: SpaceMetadata,
    role: SpaceRole,
}

#[derive(Debug, Serialize)]
struct SpaceMetadata {
    r#type: SpaceKind,
}

impl From<Membership> for SpaceBody {
    fn from(membership: Membership) -> Self {
        Self {
            id: membership.space,
            name: membership.name,
            slug: membership.slug,
            metadata: SpaceMetadata { r#type: membership.kind },
            role: membership.role,
        }
    }
}

/// Every space that the caller belongs to, the personal one first.
async fn spaces(State(identity): State<Identity>, Bearer(principal): Bearer) -> Result<Json<Vec<SpaceBody>>, Problem> {
    let found = space::memberships(&mut Source::Db(identity.db()), principal.user_id).await.map_err(Error::from)?;
    Ok(Json(found.into_iter().map(SpaceBody::from).collect()))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionBody {
    #[serde(flatten)]
    principal: Principal,
    name: String,
    kind: AccountKind,
    personal_space: Option<SpaceBody>,
}

/// The principal, as the database has it now: a sign-in that has ended is nobody, even if its token still lives.
async fn session(State(identity): State<Identity>, Bearer(principal): Bearer) -> Result<Json<SessionBody>, Problem> {
    let Proof::AccessToken { session, .. } = principal.proof;
    let account = identity.session_account(session, principal.user_id).await?;
    let personal = space::personal(identity.db(), account.id).await.map_err(Error::from)?;
    Ok(Json(SessionBody {
        principal: Principal {
            user_id: account.id,
            email: account.email,
            role: account.role,
            tier: account.tier,
            proof: principal.proof.clone(),
        },
        name: account.name,
        kind: account.kind,
        personal_space: personal.map(SpaceBody::from),
    }))
}

#[derive(Debug, Serialize)]
struct ValidBody {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Claims>,
}

impl ValidBody {
    const NO: Self = Self { valid: false, payload: None };
}

/// Whether an access token is good: ours, in its time, and its sign-in has not ended.
async fn validate(State(app): State<App>, Json(body): Body) -> Result<Json<ValidBody>, Problem> {
    let [token] = Fields(body).secrets(["token"])?;
    let claims = match app.verifier.claims(token.expose()).await {
        Ok(claims) => claims,
        Err(TokenError::Expired | TokenError::Invalid) => return Ok(Json(ValidBody::NO)),
        Err(error @ TokenError::KeysUnavailable(_)) => return Err(error.into()),
    };
    match app.identity.session_account(claims.sid, claims.sub).await {
        Ok(_) => Ok(Json(ValidBody { valid: true, payload: Some(claims) })),
        Err(Error::SessionEnded) => Ok(Json(ValidBody::NO)),
        Err(error) => Err(error.into()),
    }
}

/// Public documents may be kept for a minute: a new key signs at once, and verifiers ask again for one they miss.
const ONE_MINUTE: (header::HeaderName, HeaderValue) =
    (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));

async fn jwks(State(identity): State<Identity>) -> Result<Response, Problem> {
    Ok(([ONE_MINUTE], Json(identity.jwks().await?)).into_response())
}

/// Discovery by the rules of `OpenID Connect`, as far as it is true: who signs, with what, and where the keys are. There is no
/// authorization endpoint yet, so none is named.
async fn discovery(State(identity): State<Identity>) -> Response {
    let issuer = identity.issuer();
    let base = issuer.trim_end_matches('/');
    let document = json!({
        "issuer": issuer,
        "jwks_uri": format!("{base}/api/auth/jwks"),
        "subject_types_supported": ["public"],
    });
    ([ONE_MINUTE], Json(document)).into_response()
}
