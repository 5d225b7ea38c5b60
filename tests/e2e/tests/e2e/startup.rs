//! What an operator meets before anything runs.

use anyhow::Result;
use testkit::http::Http;
use testkit::process::{Process, binary, contains, run};

/// Runs `millpond ARGS` in a folder with an API key and `millpond.toml` as given; status and everything printed.
async fn millpond(configuration: &str, args: &[&str]) -> Result<(bool, String)> {
    let folder = tempfile::tempdir()?;
    run(folder.path(), &["keys", "create", "--name", "test", "--market", "main"]).await?;
    std::fs::write(folder.path().join("millpond.toml"), configuration)?;
    let args: Vec<&str> = ["--config", "millpond.toml"].iter().chain(args).copied().collect();
    let (status, printed) = run(folder.path(), &args).await?;
    Ok((status.success(), printed))
}

#[tokio::test]
async fn a_wrong_configuration_stops_the_start_and_says_what_to_do() -> Result<()> {
    for (configuration, said) in [
        ("[http]\nbnid = \"127.0.0.1:1\"", "bnid"),
        ("[broker]\norders = \"kafka://x\"", "broker.orders must start with embedded:, amqp:// or amqps://"),
        (
            "[store.database.main]\nurl = \"mysql://x\"",
            "store.database.main.url must start with sqlite: or postgres://",
        ),
        ("[cache]\nurl = \"memcached://x\"", "memory:, redis://"),
        ("[[ingress.market]]\nid = \"eu\"\nregion = \"atlantis\"\ncurrency = \"EUR\"", "atlantis"),
        ("[ingress]\nkeys_file = \"nowhere.toml\"", "millpond keys create"),
        ("this is not toml", "not valid TOML"),
    ] {
        let (success, printed) = millpond(
            &format!("{configuration}\n"),
            &["--set", "http.bind=127.0.0.1:0", "--set", "ops.bind=127.0.0.1:0", "run", "all"],
        )
        .await?;
        assert!(!success && printed.contains(said), "{configuration}\nshould say {said:?}, and says:\n{printed}");
    }
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_stops_the_start_and_is_named() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let bind = format!("http.bind={}", taken.local_addr()?);
    let (success, printed) = millpond("", &["--set", &bind, "--set", "ops.bind=127.0.0.1:0", "run", "all"]).await?;
    assert!(!success && printed.contains("is taken by another process"), "{printed}");
    Ok(())
}

#[tokio::test]
async fn the_printed_configuration_is_a_valid_one() -> Result<()> {
    let (success, printed) = millpond("", &["config"]).await?;
    assert!(success, "{printed}");
    let (success, checked) = millpond(&printed, &["config", "check"]).await?;
    assert!(success, "{checked}");
    Ok(())
}

/// Ports that nobody listens on: bound and closed again.
fn nowhere() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[tokio::test]
async fn without_any_server_every_role_says_so_and_waits() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let configuration = format!(
        "[http]\nbind = \"127.0.0.1:0\"\n[ops]\nbind = \"127.0.0.1:0\"\n[broker]\norders = \"amqp://127.0.0.1:{}\"\n[store.database.main]\n\
         url = \"postgres://nobody@127.0.0.1:{}/nothing\"\n[cache]\nurl = \"redis://127.0.0.1:{}\"\n",
        nowhere()?,
        nowhere()?,
        nowhere()?,
    );
    std::fs::write(folder.path().join("millpond.toml"), configuration)?;
    for key in [["keys", "token"].as_slice(), &["keys", "create", "--name", "test", "--market", "main"]] {
        crate::shop::verb(folder.path(), key).await?;
    }
    let mut process = Process::start(folder.path(), "all", &["--config", "millpond.toml", "run", "all"])?;
    process.until_log_says("waiting for the database").await?;
    process.until_log_says("broker").await?;
    let url = process.until_serving().await?;
    let ready = Http::new().get(&format!("{url}/readyz")).await?;
    assert_eq!(ready.status, 503, "{}", ready.json());
    let alive = Http::new().get(&format!("{url}/healthz")).await?;
    assert_eq!(alive.status, 200);
    assert!(process.is_running(), "it waits and does not crash:\n{}", process.log());

    let (status, doctor) = run(folder.path(), &["--config", "millpond.toml", "doctor"]).await?;
    assert!(!status.success(), "{doctor}");
    for part in ["FAIL  broker.orders", "FAIL  database main", "warn  cache"] {
        assert!(doctor.contains(part), "{part} in:\n{doctor}");
    }
    assert!(process.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn a_doctor_where_there_is_no_shop_makes_none_and_says_where_to_look() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (status, doctor) = run(folder.path(), &["doctor"]).await?;
    assert!(!status.success(), "{doctor}");
    for said in [
        "warn  data: there is no folder millpond-data",
        "FAIL  broker.orders: there is no queue at millpond-data/millpond.queue",
        "FAIL  database main: there is no database at millpond-data/millpond.db",
        "--config",
    ] {
        assert!(doctor.contains(said), "{said} in:\n{doctor}");
    }
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 0, "it made something");
    Ok(())
}

#[tokio::test]
async fn a_doctor_beside_a_running_shop_finds_its_files_and_leaves_them_to_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("millpond.toml"), "")?;
    for key in [["keys", "token"].as_slice(), &["keys", "create", "--name", "test", "--market", "main"]] {
        crate::shop::verb(folder.path(), key).await?;
    }
    let free = ["--set", "http.bind=127.0.0.1:0", "--set", "ops.bind=127.0.0.1:0", "run", "all"];
    let mut process = Process::start(folder.path(), "all", &free)?;
    process.until_ready(&Http::new()).await?;
    let (status, doctor) = run(folder.path(), &["doctor"]).await?;
    assert!(status.success(), "{doctor}");
    assert!(doctor.contains("ok    broker.orders: embedded, in millpond-data/millpond.queue"), "{doctor}");
    assert!(process.is_running(), "{}", process.log());
    assert!(process.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn a_demo_whose_report_can_not_be_written_ends_before_it_begins() -> Result<()> {
    let (success, printed) = millpond("", &["demo", "--exit", "--report", "none/demo.json"]).await?;
    assert!(!success && printed.contains("none/demo.json can't be written"), "{printed}");
    assert!(!printed.contains("Millpond serves"), "{printed}");
    Ok(())
}

/// `millpond demo` in a container of a shop, whose parts the environment names.
#[tokio::test]
async fn a_demo_touches_nothing_of_the_shop_that_the_environment_names() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shop = |name: &str| folder.path().join(name).display().to_string();
    let (queue, database) = (format!("embedded:{}", shop("shop.queue")), format!("sqlite:{}", shop("shop.db")));
    let environment = [("MILLPOND__BROKER__ORDERS", &*queue), ("MILLPOND__STORE__DATABASE__MAIN__URL", &*database)];
    let args = ["demo", "--exit", "--rate", "20", "--spike-s", "1", "--report", "demo.json"];
    let mut demo = Process::start_binary(&binary()?, &environment, folder.path(), "demo", &args)?;
    assert!(demo.exited().await?.success(), "{}", demo.log());
    for file in ["shop.queue", "shop.db"] {
        assert!(!folder.path().join(file).exists(), "{file} was made");
    }
    assert!(std::fs::read_to_string(folder.path().join("demo.json"))?.contains("\"lost\": 0"));
    Ok(())
}

#[tokio::test]
async fn a_product_file_with_bad_lines_is_imported_not_at_all_and_each_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("millpond.toml"), "")?;
    std::fs::write(
        folder.path().join("p.csv"),
        "sku,title,price,on_hand\nMUG,A mug,12.50,5\nPEN,A pen,free,5\nBOX,A box,1,many\n",
    )?;
    let (status, printed) = run(folder.path(), &["--config", "millpond.toml", "import", "p.csv"]).await?;
    assert!(!status.success());
    for said in ["line 3: price", "line 4: on_hand", "Nothing was imported"] {
        assert!(printed.contains(said), "{printed}");
    }
    std::fs::write(folder.path().join("p.csv"), "sku,title,price,on_hand\nMUG,A mug,12.50,5\n")?;
    let printed = crate::shop::verb(folder.path(), &["import", "p.csv"]).await?;
    assert!(printed.contains("1 created"), "the first line of the bad file was not kept: {printed}");

    // The end of its name says what it is written in.
    let cup = r#"{"sku": "CUP", "title": "A cup", "price": {"minor": 950, "currency": "EUR"}, "on_hand": 5}"#;
    let free = r#"{"sku": "PEN", "title": "A pen", "price": {"minor": "free", "currency": "EUR"}}"#;
    std::fs::write(folder.path().join("p.ndjson"), format!("{cup}\n{free}\n"))?;
    let (status, printed) = run(folder.path(), &["--config", "millpond.toml", "import", "p.ndjson"]).await?;
    assert!(!status.success());
    for said in ["line 2: price/minor", "Nothing was imported"] {
        assert!(printed.contains(said), "{printed}");
    }
    for name in ["p.ndjson", "p.jsonl"] {
        std::fs::write(folder.path().join(name), format!("{cup}\n"))?;
    }
    let printed = crate::shop::verb(folder.path(), &["import", "p.ndjson"]).await?;
    assert!(printed.contains("1 created"), "{printed}");
    let printed = crate::shop::verb(folder.path(), &["import", "p.jsonl"]).await?;
    assert!(printed.contains("0 created, 0 changed, 1 unchanged"), "{printed}");
    Ok(())
}

#[test]
fn the_binary_that_is_shipped_can_break_no_promise_on_purpose() -> Result<()> {
    // `infra/prove.sh` shows that both are in a binary with failpoints.
    for text in ["MILLPOND_FAILPOINTS", "ack-before-commit"] {
        assert!(!contains(&binary()?, text)?, "{text} is in it: it was built with the feature `failpoints`");
    }
    Ok(())
}
