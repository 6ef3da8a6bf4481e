//! What the API answers when it refuses: one JSON shape, with a code from the one table and a remedy.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use oyez_hub::app::Refusal;
use oyez_hub::command::{CommandError, NOT_STORED};
use oyez_hub::policy::token::RevokeError;
use oyez_hub::store::StoreError;
use oyez_protocol::code::Code;
use serde::Serialize;
use utoipa::ToSchema;

/// A refusal. Its code decides the HTTP status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    code: Code,
    message: String,
}

/// The body of every refusal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorDetail {
    /// A stable name for programs.
    #[schema(value_type = String, example = "bad_request")]
    code: &'static str,
    /// What is wrong and how to put it right, for people.
    #[schema(example = "`event`: invalid type: integer `5`, expected a string at line 1 column 24")]
    message: String,
}

impl ApiError {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, message)
    }

    /// What a user hears of it, who asks with a token of their own.
    pub(super) fn for_user(self) -> Self {
        match self.code {
            Code::StoreFull | Code::StoreFailed => Self::new(self.code, NOT_STORED),
            _ => self,
        }
    }

    /// What somebody hears of it whose token is none, on a route that is for users.
    pub(super) fn wants_a_user(self) -> Self {
        if self.code.http_status() != StatusCode::UNAUTHORIZED.as_u16() {
            return self;
        }
        let message = format!(
            "{}; ask with the token of a user (`Authorization: Bearer <token>`), which `oyez token` makes, too: an API key is none",
            self.message
        );
        Self { message, ..self }
    }

    /// The body, for answers that hold several outcomes.
    pub(super) fn body(self) -> ErrorBody {
        ErrorBody { error: ErrorDetail { code: self.code.name(), message: self.message } }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.body())).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let code = match &error {
            CommandError::UnknownApp(_) => Code::NotFound,
            CommandError::ShuttingDown => Code::Unavailable,
            CommandError::OverLimit { limit, .. } => limit.code(),
            CommandError::NoInbox(_) | CommandError::NotRecoverable(_) | CommandError::NoRoster(_) => Code::Conflict,
            CommandError::TooManyUsers(_) => Code::PayloadTooLarge,
            CommandError::Store(error) => code_of(error),
            CommandError::Revoke(error) => return (*error).into(),
            CommandError::NoCredentials(_) => Code::Conflict,
            CommandError::BadPromise(_)
            | CommandError::BadChannel(_)
            | CommandError::BadEvent(_)
            | CommandError::NoTarget
            | CommandError::TooManyChannels => Code::BadRequest,
        };
        Self::new(code, error.to_string())
    }
}

/// What a store's refusal is to who asked.
pub(super) fn code_of(error: &StoreError) -> Code {
    match error {
        StoreError::InboxFull(_) => Code::InboxFull,
        StoreError::TooLong { .. } | StoreError::NoTarget => Code::BadRequest,
        StoreError::DiskFull { .. } | StoreError::MemoryFull { .. } | StoreError::ServerFull { .. } => Code::StoreFull,
        _ => Code::StoreFailed,
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::new(code_of(&error), error.to_string())
    }
}

impl From<RevokeError> for ApiError {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::BadName => Self::bad(error.to_string()),
            RevokeError::Full(_) => {
                Self::new(Code::LimitReached, format!("{error}; revoke by `issued_before` instead of one by one"))
            }
        }
    }
}
