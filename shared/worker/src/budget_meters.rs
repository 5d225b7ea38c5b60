//! What a consumer shows of its database's budget at `/metrics`. Without a budget there is nothing to show: absent is not
//! zero.

use service::metrics::{Family, Metrics};

use crate::governor::Seat;

static SHARE: Family = Family::gauge(
    "millpond_governor_share_ratio",
    "Part of the database's budget that a consumer holds; absent without a budget",
    &["queue", "database"],
);
static FACTOR: Family = Family::gauge(
    "millpond_governor_given_out_ratio",
    "Part of the database's budget that is given out: less than 1 while commits are slow; absent without a budget",
    &["queue", "database"],
);
static LIMITED: Family = Family::gauge(
    "millpond_governor_limited",
    "Whether the budget is what limits a consumer: 1, else 0; absent without a budget",
    &["queue", "database"],
);
static LEASES: Family = Family::gauge(
    "millpond_governor_leases",
    "Consumers of all processes that hold a part of the database's budget; absent without a budget",
    &["queue", "database"],
);
static ROWS: Family = Family::counter(
    "millpond_governor_written_rows_total",
    "Rows that a consumer has written under a budget",
    &["queue", "database"],
);
static TRANSACTIONS: Family =
    Family::counter("millpond_governor_transactions_total", "Transactions under a budget", &["queue", "database"]);
static WAITED: Family = Family::counter(
    "millpond_governor_waited_seconds_total",
    "How long a consumer has waited for its part of the budget",
    &["queue", "database"],
);

/// Shows what `seat` holds, has spent and has waited for.
pub(crate) fn register(metrics: &Metrics, queue: &str, database: &str, seat: &Seat) {
    let (queue, database, seat) = (queue.to_owned(), database.to_owned(), seat.watch());
    metrics.sample(&[&SHARE, &FACTOR, &LIMITED, &LEASES, &ROWS, &TRANSACTIONS, &WAITED], move |samples| {
        let Some(held) = seat.snapshot() else { return };
        let labels = [queue.as_str(), database.as_str()];
        samples.count(&ROWS, &labels, held.rows);
        samples.count(&TRANSACTIONS, &labels, held.transactions);
        samples.fraction(&WAITED, &labels, held.waited_s);
        if !held.budget.is_unlimited() {
            samples.level(&SHARE, &labels, held.share);
            samples.level(&FACTOR, &labels, held.factor);
            samples.number(&LIMITED, &labels, u64::from(held.limited));
            samples.number(&LEASES, &labels, held.leases as u64);
        }
    });
}
