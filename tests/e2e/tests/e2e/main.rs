//! Millpond from outside: real processes, real requests, and what the database says afterwards. Every case runs on
//! embedded parts in one process, and on `RabbitMQ`, `PostgreSQL` and Redis in a process for each role.

mod away;
mod bad_input;
mod browser;
mod cdn;
mod kills;
mod layout;
mod load;
mod metrics;
mod operators;
mod orders;
mod pages;
mod parked;
mod readers;
mod shop;
mod startup;
mod stock;

/// One test per case and kind of parts.
macro_rules! on_all_parts {
    ($($module:ident::$case:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() -> anyhow::Result<()> {
                crate::$module::$case(crate::shop::Parts::Embedded).await
            })+
        }

        mod servers {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() -> anyhow::Result<()> {
                crate::$module::$case(crate::shop::Parts::Servers).await
            })+
        }
    };
}

on_all_parts!(
    orders::an_order_posted_over_http_ends_confirmed_with_its_stock_moved_once,
    orders::the_same_order_posted_five_times_at_once_is_one_order,
    orders::one_key_with_another_order_is_never_a_second_order,
    orders::five_hundred_buyers_of_a_hundred_units_leave_exactly_a_hundred_confirmed,
    cdn::an_edit_reaches_the_readers_of_the_shop_and_of_a_varnish_before_it_by_its_purge,
    metrics::what_a_shop_does_is_counted_in_every_role,
    pages::a_page_event_batch_posted_twice_counts_once,
    readers::while_readers_flood_the_pages_every_order_is_accepted_and_confirmed,
    parked::what_is_parked_is_listed_shown_replayed_and_discarded_by_the_verb,
    parked::a_parked_order_is_found_by_its_id_and_what_was_discarded_by_mistake_is_brought_back,
    bad_input::a_malformed_request_gets_a_problem_that_names_every_wrong_field,
    bad_input::a_malformed_message_put_into_a_queue_by_hand_is_parked_while_its_neighbours_pass,
    kills::a_checkout_killed_in_mid_batch_loses_nothing_and_doubles_nothing,
    kills::a_relay_killed_in_mid_batch_loses_no_outcome_and_tells_none_twice,
    kills::an_ingress_killed_in_mid_request_loses_nothing_that_it_accepted,
    load::a_load_run_is_reported_and_its_journal_agrees_with_the_databases,
    stock::units_that_are_not_paid_in_time_are_sold_to_somebody_else,
    stock::what_a_shop_does_after_the_sale_moves_stock_and_revenue_once,
    operators::a_paused_queue_keeps_what_comes_in_through_a_restart_and_does_each_once_when_resumed,
    operators::verbs_find_orders_set_budgets_and_say_what_keeps_them_from_it,
    load::what_was_lost_or_sold_twice_is_found_and_is_an_exit_status,
);
