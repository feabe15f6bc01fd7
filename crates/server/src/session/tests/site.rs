//! A web site on a private port that can be changed while it serves, and counts what is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What a page is.
#[derive(Clone)]
pub(super) enum Page {
    Json(String),
    Status(u16),
    /// Leads to another path.
    Redirect(String),
    /// So many bytes.
    Long(usize),
    /// Nothing for a minute.
    Slow,
}

/// A request as it came.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

pub(super) struct Site {
    /// Where it is, as `http://127.0.0.1:port`.
    pub(super) url: String,
    pub(super) port: u16,
    state: Arc<Mutex<Pages>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Pages {
    pages: HashMap<String, Page>,
    asked: Vec<Asked>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Site {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(Pages::default()));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url: format!("http://127.0.0.1:{port}"), port, state, server }
    }

    pub(super) fn put(&self, path: &str, page: Page) {
        self.state.lock().unwrap().pages.insert(path.into(), page);
    }

    /// What was asked for `path`, in order.
    pub(super) fn asked(&self, path: &str) -> Vec<Asked> {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|asked| asked.path == path).cloned().collect()
    }

    /// How much was asked in all.
    pub(super) fn all(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }
}

async fn answer(State(state): State<Arc<Mutex<Pages>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = parts.uri.path().to_owned();
    let page = {
        let mut state = state.lock().unwrap();
        state.asked.push(Asked { path: path.clone(), headers: parts.headers, body });
        state.pages.get(&path).cloned()
    };
    match page {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(Page::Json(text)) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Some(Page::Status(status)) => StatusCode::from_u16(status).unwrap().into_response(),
        Some(Page::Redirect(to)) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Some(Page::Long(length)) => " ".repeat(length).into_response(),
        Some(Page::Slow) => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            StatusCode::OK.into_response()
        }
    }
}
