use crate::trials::{begin, end};

use super::fixture::{Home, number, write};

#[tokio::test]
async fn runs_that_began_and_did_not_end_are_counted_for_each_message_of_each_queue() {
    for home in Home::both().await {
        let database = home.migrated().await;
        assert_eq!(begin(&database, "q", "m").await.unwrap(), 1);
        assert_eq!(begin(&database, "q", "m").await.unwrap(), 2);
        assert_eq!(begin(&database, "q", "other").await.unwrap(), 1);
        assert_eq!(begin(&database, "other", "m").await.unwrap(), 1);
        end(&database, "q", "m").await.unwrap();
        assert_eq!(begin(&database, "q", "m").await.unwrap(), 1, "it ended, so nothing is held against it");
        assert_eq!(begin(&database, "other", "m").await.unwrap(), 2);
    }
}

#[tokio::test]
async fn what_was_left_behind_is_thrown_away_after_a_month() {
    for home in Home::both().await {
        let database = home.migrated().await;
        begin(&database, "q", "left behind").await.unwrap();
        let (old, young) = match database.backend() {
            crate::Backend::Postgres => ("now() - interval '31 days'", "now() - interval '29 days'"),
            crate::Backend::Sqlite => (
                "strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '-31 days')",
                "strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '-29 days')",
            ),
        };
        for (since, left) in [(young, 1), (old, 0)] {
            write(&database, &format!("UPDATE message_trials SET since = {since}"), []).await.unwrap();
            end(&database, "q", "another").await.unwrap();
            assert_eq!(number(&database, "SELECT count(*) FROM message_trials").await, left);
        }
    }
}
