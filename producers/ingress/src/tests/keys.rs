use std::fs;
use std::time::Duration;

use axum::http::{StatusCode, header};
use service::keys;

use super::support::{App, add_key, mugs};

async fn status_with(app: &App, key: &str) -> StatusCode {
    let mut request = app.order("k", &mugs());
    request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {key}").parse().unwrap());
    app.send(request).await.status
}

async fn becomes(app: &App, key: &str, wanted: u16) {
    let wait = async {
        while status_with(app, key).await != wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("the key never got {wanted}"));
}

/// Through many rounds of the reload (5 ms in these tests).
async fn still_works(app: &App, key: &str) {
    let end = tokio::time::Instant::now() + Duration::from_millis(100);
    while tokio::time::Instant::now() < end {
        assert_eq!(status_with(app, key).await, 202);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn keys_come_and_go_without_a_restart_and_a_broken_file_changes_nothing() {
    let app = App::new();
    let test = async {
        let key = add_key(&app.keys_file, "new", |_| {});
        becomes(&app, &key, 202).await;

        let good = fs::read_to_string(&app.keys_file).unwrap();
        fs::write(&app.keys_file, "[[key]]\nname = \"half").unwrap();
        still_works(&app, &key).await;
        fs::remove_file(&app.keys_file).unwrap();
        still_works(&app, &key).await;
        fs::write(&app.keys_file, &good).unwrap();
        keys::revoke(&app.keys_file, "new").unwrap();
        becomes(&app, &key, 401).await;
        assert_eq!(status_with(&app, &app.server_key).await, 202);
        app.shutdown.request();
    };
    let (maintained, ()) = tokio::join!(app.ingress.maintain(app.shutdown.clone()), test);
    maintained.unwrap();
}
