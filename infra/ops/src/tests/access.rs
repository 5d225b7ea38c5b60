//! Who gets in.

use std::net::SocketAddr;

use axum::http::{Method, StatusCode};
use service::Shutdown;
use testkit::wait;

use super::fixture::{Site, deps};
use crate::operators::{self, Entry};
use crate::{Config, Error, Ops};

#[tokio::test]
async fn nobody_without_an_operators_token_gets_past_any_route() {
    let site = Site::embedded().await;
    let routes = [
        (Method::GET, "/v1/queues"),
        (Method::GET, "/v1/queues/checkout.main"),
        (Method::POST, "/v1/queues/checkout.main/pause"),
        (Method::POST, "/v1/queues/checkout.main/resume"),
        (Method::GET, "/v1/databases"),
        (Method::GET, "/v1/databases/main/budget"),
        (Method::PUT, "/v1/databases/main/budget"),
        (Method::GET, "/v1/orders?find=x"),
        (Method::GET, "/v1/audit"),
    ];
    for (method, path) in routes {
        for authorization in ["", "Bearer mp_ops_wrong", "Bearer ", "Basic YW5uYTo=", "mp_ops_wrong"] {
            let (status, problem) = site.ask(method.clone(), path, authorization, None).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} with {authorization:?}");
            assert_eq!(problem["code"], "operator_unauthenticated");
            assert!(problem["detail"].as_str().unwrap().contains("millpond keys operator --name"), "{problem}");
        }
    }
    assert_eq!(site.trail().await, [""; 0], "nothing was done");
    site.close().await;
}

#[tokio::test]
async fn an_operator_who_is_added_gets_in_without_a_restart_and_one_who_is_taken_out_does_not() {
    let site = Site::embedded().await;
    let file = site.folder.path().join("operators.toml");
    let (token, hash) = operators::generate();
    let bearer = format!("Bearer {}", token.reveal());
    operators::append(&file, &Entry { name: "ben".to_owned(), hash }).unwrap();
    let until = async |status| {
        wait::until("the file was read again", || async {
            (site.ask(Method::GET, "/v1/queues", &bearer, None).await.0 == status).then_some(())
        })
        .await
        .unwrap();
    };
    until(StatusCode::OK).await;
    assert!(operators::remove(&file, "ben").unwrap());
    until(StatusCode::UNAUTHORIZED).await;
    site.close().await;
}

#[tokio::test]
async fn strangers_are_not_listened_to_while_there_is_no_operator() {
    let site = Site::embedded().await;
    let operators_file = site.folder.path().join("nobody.toml");
    let bind: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let config = Config { bind, operators_file, ..Config::default() };
    let shutdown = Shutdown::new();
    let open = |config| Ops::new(deps(config, &site.databases, &site.broker, &shutdown));
    let Err(error) = open(config.clone()) else { panic!("it would listen to strangers") };
    assert!(matches!(error, Error::Open(_)) && error.to_string().contains("millpond keys operator"), "{error}");
    operators::append(&config.operators_file, &Entry { name: "ben".to_owned(), hash: operators::generate().1 })
        .unwrap();
    assert!(open(config).is_ok());
    site.close().await;
}
