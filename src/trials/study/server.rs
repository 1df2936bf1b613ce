//! The server: the page, its pictures, and three calls, on this machine alone.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path as At, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::session::{Item, items, trials};
use super::store::{Refusal, Store};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::print::note;
use crate::trials::plan::Plan;
use crate::trials::stimuli;

/// Nothing is taken from elsewhere, and nothing but the page's own files is run.
const POLICY: &str = "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The largest answer that is read, in bytes.
const LARGEST: usize = 16 * 1024;

/// Where a study is served.
#[derive(Clone, Copy, Debug)]
pub struct Address(pub SocketAddr);

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}/", self.0)
    }
}

struct Study {
    folder: PathBuf,
    /// The pictures that trials show: no other file is served.
    pictures: HashSet<String>,
    /// How many a participant is asked.
    trials: usize,
    store: Mutex<Store>,
}

impl Study {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a study on loopback until Ctrl-C; `ready` is told where.
///
/// # Errors
/// Usage, if the folder holds no study, is served already, or the port is taken; failure, if its files can't be read or
/// don't belong together.
pub fn serve(folder: &Path, port: u16, ready: impl FnOnce(Address)) -> Result<()> {
    let plan = Plan::read(folder)?;
    let pictures = plan.trials.iter().flat_map(|t| t.pictures()).cloned().collect();
    let missing = |file: &&String| !folder.join(stimuli::FOLDER).join(file).is_file();
    if let Some(file) = plan.trials.iter().flat_map(|t| t.pictures()).find(missing) {
        return Err(Error::failure(format!(
            "{} is missing, and trials show it: make the study again with `trompe trials`",
            folder.join(stimuli::FOLDER).join(file).display()
        )));
    }
    let trials = trials(&items(&plan, 0)).count();
    let store = Mutex::new(Store::open(folder, plan)?);
    let study = Arc::new(Study { folder: folder.into(), pictures, trials, store });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::failure(format!("cannot start the server: {e}")))?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|e| {
            Error::usage(format!("cannot listen on port {port}: {e}; give another with --port"))
        })?;
        let failed = |e: std::io::Error| Error::failure(format!("the server failed: {e}"));
        ready(Address(listener.local_addr().map_err(failed)?));
        axum::serve(listener, router(study)).with_graceful_shutdown(interrupted()).await.map_err(failed)
    })
}

/// Ends after Ctrl-C.
async fn interrupted() {
    while interrupt::check().is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn router(study: Arc<Study>) -> Router {
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
    };
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("page.html")))
        .route("/page.js", file("text/javascript; charset=utf-8", include_str!("page.js")))
        .route("/page.css", file("text/css; charset=utf-8", include_str!("page.css")))
        .route("/favicon.ico", get(async || StatusCode::NO_CONTENT))
        .route("/stimuli/{file}", get(picture))
        .route("/api/study", get(about))
        .route("/api/start", post(start))
        .route("/api/session", get(session))
        .route("/api/answer", post(answer))
        .layer(DefaultBodyLimit::max(LARGEST))
        .layer(middleware::from_fn_with_state(Arc::clone(&study), guard))
        .with_state(study)
}

/// Answers requests to this machine by its own name only, so that no page from elsewhere can reach the study under
/// another name; and says what browsers may do with the answers.
async fn guard(State(study): State<Arc<Study>>, request: Request, next: Next) -> Response {
    let mut response = match is_local(request.headers()) {
        true => next.run(request).await,
        false => foreign(&study, &request),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether a request names this machine, and comes from no other page.
fn is_local(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let Some(authority) = text(header::HOST) else { return false };
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let own = text(header::ORIGIN).is_none_or(|origin| origin == format!("http://{authority}"));
    ["127.0.0.1", "localhost"].contains(&host) && own
}

/// Refuses a request that is not to this machine or not from the study's page, and notes it.
fn foreign(study: &Study, request: &Request) -> Response {
    let headers = request.headers();
    let text = |name| headers.get(name).map_or("nobody", |v: &HeaderValue| v.to_str().unwrap_or("?"));
    let why = format!("a request to {} from {}", text(header::HOST), text(header::ORIGIN));
    let asked = format!("{} {}", request.method(), request.uri());
    study.store().refuse(token(headers), &Refusal::Foreign(why), asked.as_bytes());
    (StatusCode::FORBIDDEN, "this study is for this machine\n").into_response()
}

async fn picture(State(study): State<Arc<Study>>, At(file): At<String>) -> Response {
    if !study.pictures.contains(&file) {
        return (StatusCode::NOT_FOUND, "no such picture\n").into_response();
    }
    match std::fs::read(study.folder.join(stimuli::FOLDER).join(&file)) {
        Ok(bytes) => {
            // A name stands for its content.
            let kept = HeaderValue::from_static("private, max-age=86400, immutable");
            let kind = HeaderValue::from_static("image/png");
            ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, kept)], Body::from(bytes)).into_response()
        }
        Err(e) => {
            note!("cannot read picture {file}: {e}");
            (StatusCode::NOT_FOUND, "the picture is missing\n").into_response()
        }
    }
}

/// What the browser shows to be known.
fn token(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    value.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default()
}

fn refused(refusal: &Refusal) -> Response {
    let status = match refusal {
        Refusal::Stranger | Refusal::Foreign(_) => StatusCode::FORBIDDEN,
        Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
        Refusal::OutOfTurn(_) => StatusCode::CONFLICT,
        Refusal::Lost(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, axum::Json(json!({ "refused": refusal.to_string() }))).into_response()
}

/// What there is to know before one takes part.
async fn about(State(study): State<Arc<Study>>) -> Response {
    axum::Json(json!({ "trials": study.trials })).into_response()
}

async fn start(State(study): State<Arc<Study>>) -> Response {
    match study.store().start() {
        Ok((participant, token)) => {
            axum::Json(json!({ "participant": participant, "token": token })).into_response()
        }
        Err(refusal) => refused(&refusal),
    }
}

async fn session(State(study): State<Arc<Study>>, headers: HeaderMap) -> Response {
    let store = study.store();
    match store.session(token(&headers)) {
        Ok((participant, items, answered)) => {
            let total = trials(&items).count();
            let items: &[Item] = &items;
            let study = &store.plan().name;
            axum::Json(json!({
                "study": study, "participant": participant, "total": total, "items": items, "answered": answered,
            }))
            .into_response()
        }
        Err(refusal) => refused(&refusal),
    }
}

async fn answer(
    State(study): State<Arc<Study>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let mut store = study.store();
    let token = token(&headers);
    let json =
        headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
    let kept = match &body {
        Err(e) if e.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Refusal::TooLarge),
        Err(e) => Err(Refusal::Malformed(e.body_text())),
        Ok(body) if json => store.answer(token, body),
        Ok(_) => Err(Refusal::Malformed("the content type is not application/json".into())),
    };
    match kept {
        Ok(feedback) => axum::Json(feedback).into_response(),
        Err(refusal) => {
            store.refuse(token, &refusal, body.as_deref().unwrap_or_default());
            refused(&refusal)
        }
    }
}
