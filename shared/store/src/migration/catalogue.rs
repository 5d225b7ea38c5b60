//! Products, and every price that they ever had.

use super::Step;

pub(super) const STEP: Step = Step {
    name: "m0003_catalogue",
    statements: &[
        "CREATE TABLE products (
            region {int} NOT NULL,
            sku text NOT NULL,
            title text NOT NULL,
            description text NOT NULL DEFAULT '',
            collections {json} NOT NULL,
            active {bool} NOT NULL DEFAULT {true},
            version {bigint} NOT NULL DEFAULT 1,
            updated_at {time} NOT NULL DEFAULT {now},
            PRIMARY KEY (region, sku)
        ) {table}",
        // `version` is the product's version that brought the price; the standing price is the one not superseded.
        "CREATE TABLE product_prices (
            region {int} NOT NULL,
            sku text NOT NULL,
            version {bigint} NOT NULL,
            currency text NOT NULL,
            amount_minor {bigint} NOT NULL,
            valid_from {time} NOT NULL DEFAULT {now},
            superseded_at {time},
            PRIMARY KEY (region, sku, version),
            CONSTRAINT product_prices_amount_not_negative CHECK (amount_minor >= 0)
        ) {table}",
        "CREATE UNIQUE INDEX product_prices_standing ON product_prices (region, sku) WHERE superseded_at IS NULL",
    ],
};
