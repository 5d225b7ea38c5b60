//! The shop's pages in a real browser: Debian's Chromium, driven over `WebDriver`.
//!
//! One driver, one browser and one profile for each look, so that tests share nothing and run beside each other.

mod buy;
mod driver;
mod look;

use anyhow::Result;
use testkit::wait;

use crate::shop::{Shop, verb};

/// What the pages show: an article of each kind of availability, and a second collection.
const PRODUCTS: &str = "sku,title,price,on_hand,collections,description,low_threshold\n\
    MUG-BLUE,Blue mug,12.00,500,kitchen,\"Stoneware, 35 cl. Goes into the dishwasher.\",5\n\
    BOWL-S,Small bowl,9.50,3,kitchen,\"Stoneware, 12 cm\",5\n\
    BOARD,Oak board,29.90,0,kitchen,\"Oiled oak, 40 × 25 cm\",5\n\
    TOWEL,Linen towel,16.00,200,kitchen|linen,\"Washed linen, 50 × 70 cm\",5\n\
    APRON,Linen apron,39.00,200,linen,\"Washed linen, one size\",5\n\
    CANDLE,Beeswax candle,7.80,200,home,Burns for 20 hours,5\n\
    VASE,Glass vase,24.00,200,home,\"Mouth-blown, 22 cm\",5\n\
    KNIFE,Kitchen knife with a rather long name,1059.00,200,kitchen,\"Carbon steel, 18 cm\",5\n";

/// A shop whose pages take orders.
async fn open() -> Result<Shop> {
    Shop::open_to_browsers(PRODUCTS).await
}

/// Nothing is taken from the queue from now on, so that orders stay in line.
async fn pause(shop: &Shop) -> Result<()> {
    verb(shop.folder(), &["queues", "pause", "checkout.main", "--reason", "a look at the line"]).await?;
    wait::until("checkout takes nothing", || async {
        let queues = verb(shop.folder(), &["queues", "--json"]).await.ok()?;
        queues.contains("\"paused_workers\":1").then_some(())
    })
    .await
}

async fn resume(shop: &Shop) -> Result<()> {
    verb(shop.folder(), &["queues", "resume", "checkout.main"]).await.map(drop)
}
