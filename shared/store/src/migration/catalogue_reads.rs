//! What lists and searches of the catalogue are read from: a row for each product that is for sale and each list that it is
//! in, in the list's order, and a row for each word that it is found by. Both are written with the product (`catalogue`).

use super::Step;

pub(super) const STEP: Step = Step {
    name: "m0013_catalogue_reads",
    statements: &[
        "ALTER TABLE products ADD COLUMN image text",
        // The list of everything has an empty name.
        "CREATE TABLE product_listings (
            region {int} NOT NULL,
            collection text {bytewise} NOT NULL,
            sort_key text {bytewise} NOT NULL,
            sku text NOT NULL,
            PRIMARY KEY (region, collection, sort_key, sku)
        ) {table}",
        "CREATE UNIQUE INDEX product_listings_of_product ON product_listings (region, sku, collection)",
        "CREATE TABLE product_words (
            region {int} NOT NULL,
            word text {bytewise} NOT NULL,
            sku text NOT NULL,
            PRIMARY KEY (region, word, sku)
        ) {table}",
        "CREATE UNIQUE INDEX product_words_of_product ON product_words (region, sku, word)",
        "CREATE INDEX product_prices_by_end ON product_prices (superseded_at) WHERE superseded_at IS NOT NULL",
        // The products that are there, as well as the two can: the next change of each writes its rows anew.
        "INSERT INTO product_listings (region, collection, sort_key, sku)
            SELECT region, '', substr(lower(title), 1, 64), sku FROM products WHERE active",
        "{postgres only} INSERT INTO product_listings (region, collection, sort_key, sku)
            SELECT DISTINCT p.region, c.name, substr(lower(p.title), 1, 64), p.sku
            FROM products p CROSS JOIN LATERAL jsonb_array_elements_text(p.collections) AS c (name)
            WHERE p.active AND length(c.name) BETWEEN 1 AND 64 AND c.name !~ '[^a-z0-9-]'",
        "{sqlite only} INSERT INTO product_listings (region, collection, sort_key, sku)
            SELECT DISTINCT p.region, c.value, substr(lower(p.title), 1, 64), p.sku
            FROM products p, json_each(p.collections) AS c
            WHERE p.active AND length(c.value) BETWEEN 1 AND 64 AND c.value NOT GLOB '*[^a-z0-9-]*'",
        "{postgres only} INSERT INTO product_words (region, word, sku)
            SELECT DISTINCT p.region, substr(w.word, 1, 32), p.sku
            FROM products p
            CROSS JOIN LATERAL regexp_split_to_table(lower(p.title || ' ' || p.sku), '[^[:alnum:]]+') AS w (word)
            WHERE p.active AND w.word <> ''",
        "{sqlite only} INSERT INTO product_words (region, word, sku)
            WITH RECURSIVE w (region, sku, word, rest) AS (
                SELECT region, sku, '', lower(title || ' ' || sku) || ' ' FROM products WHERE active
                UNION ALL
                SELECT region, sku, substr(rest, 1, instr(rest, ' ') - 1), substr(rest, instr(rest, ' ') + 1)
                FROM w WHERE rest <> ''
            )
            SELECT DISTINCT region, substr(word, 1, 32), sku FROM w WHERE word <> ''",
    ],
};
