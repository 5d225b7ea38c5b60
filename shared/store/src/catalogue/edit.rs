//! Edits of single products, each held against the version that whoever edits has seen.

use model::{Clock, CollectionName, Currency, Money, Sku};
use sea_orm::DbErr;

use super::ProductEdit;
use super::change::{Change, KnownProduct, product_changed};
use super::import::write;
use super::read::broken;
use super::sql::Statements;
use crate::database::Transaction;
use crate::outbox;
use crate::regions::Region;

/// What has to be there for an edit of a product, or a change of a row of stock, to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is.
    Anything,
    /// It is there, in any version: the product is for sale, the row of stock exists.
    Existing,
    /// It is not there.
    Absent,
    /// It is there, in one of these versions.
    OneOf(Vec<i64>),
}

impl Expected {
    /// `current` is the version of what is there: of a product, the one that shoppers see.
    pub(crate) fn holds(&self, current: Option<i64>) -> bool {
        match self {
            Self::Anything => true,
            Self::Existing => current.is_some(),
            Self::Absent => current.is_none(),
            Self::OneOf(versions) => current.is_some_and(|current| versions.contains(&current)),
        }
    }

    /// Whether an edit that was made to the version before `current` could be this one, sent again.
    fn held_before(&self, current: Option<i64>) -> bool {
        matches!(self, Self::OneOf(_)) && self.holds(current.map(|current| current - 1))
    }
}

/// Fields of a product to change; what is none stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patch {
    /// Another title.
    pub title: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Another picture, or none at all.
    pub image: Option<Option<String>>,
    /// Other collections.
    pub collections: Option<Vec<CollectionName>>,
    /// Another amount, minor units.
    pub price_minor: Option<i64>,
    /// Another currency.
    pub currency: Option<Currency>,
}

/// A product after an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// As shoppers see it from now on.
    pub product: ProductEdit,
    /// Its version.
    pub version: i64,
    /// Whether it was not for sale before.
    pub created: bool,
}

/// Why an edit was not made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The region has no such product.
    #[error("there is no product {0} in this market")]
    Unknown(Sku),
    /// It is not what whoever edits had seen; nothing was changed.
    #[error("the product is not in the version that the edit was made for")]
    Precondition {
        /// The version that shoppers see; none where it is not for sale.
        current: Option<i64>,
    },
    /// The database's. Where the connection was lost at the commit the edit may have been made: the same edit again changes
    /// nothing more.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// Makes the product what `edit` says, whatever it was; one that was withdrawn is for sale again, and its versions go on. What
/// changes nothing keeps the version and is told to nobody. An edit for a version that was changed into just this since is
/// taken as sent again.
///
/// # Errors
/// [`EditError`].
pub async fn put(
    region: &Region,
    edit: &ProductEdit,
    expected: &Expected,
    clock: &dyn Clock,
) -> Result<Edited, EditError> {
    let tx = region.database.begin().await?;
    let statements = Statements { region, tx: &tx };
    statements.make_and_lock_products(&[&edit.sku]).await?;
    let known = product(&statements, &edit.sku).await?.ok_or_else(|| broken("a product row that was made is gone"))?;
    let edited = replace(&statements, &known, edit, expected, clock).await?;
    commit(tx).await?;
    Ok(edited)
}

/// Changes fields of a product that is for sale; as [`put`] with the rest as it is.
///
/// # Errors
/// [`EditError`].
pub async fn patch(
    region: &Region,
    sku: &Sku,
    patch: &Patch,
    expected: &Expected,
    clock: &dyn Clock,
) -> Result<Edited, EditError> {
    let tx = region.database.begin().await?;
    let statements = Statements { region, tx: &tx };
    statements.lock_product(sku).await?;
    let known = product(&statements, sku).await?.filter(|known| known.active);
    let known = known.ok_or_else(|| EditError::Unknown(sku.clone()))?;
    let edit = patched(sku, &known, patch)?;
    let edited = replace(&statements, &known, &edit, expected, clock).await?;
    commit(tx).await?;
    Ok(edited)
}

/// Takes a product out of sale: out of every list, and without a standing price. Its stock stays. One that was withdrawn before
/// stays so, whatever is expected: it was sent again.
///
/// # Errors
/// [`EditError`].
pub async fn withdraw(region: &Region, sku: &Sku, expected: &Expected, clock: &dyn Clock) -> Result<(), EditError> {
    let tx = region.database.begin().await?;
    let statements = Statements { region, tx: &tx };
    statements.lock_product(sku).await?;
    let known = product(&statements, sku).await?.ok_or_else(|| EditError::Unknown(sku.clone()))?;
    if !known.active {
        return Ok(());
    }
    let current = known.shown();
    if !expected.holds(current) {
        return Err(EditError::Precondition { current });
    }
    let version = known.version + 1;
    statements.withdraw_product(sku, version).await?;
    statements.unlist(&[sku]).await?;
    statements.end_prices(&[sku]).await?;
    let message = product_changed(&region.name, sku, version, known.collections, clock);
    outbox::insert(&region.database, &tx, &[message]).await?;
    commit(tx).await
}

async fn product(statements: &Statements<'_>, sku: &Sku) -> Result<Option<KnownProduct>, DbErr> {
    Ok(statements.products(&[sku]).await?.remove(sku.as_str()))
}

async fn replace(
    statements: &Statements<'_>,
    known: &KnownProduct,
    edit: &ProductEdit,
    expected: &Expected,
    clock: &dyn Clock,
) -> Result<Edited, EditError> {
    let change = Change::between(known, None, edit);
    let current = known.shown();
    if !expected.holds(current) && (change.product_version.is_some() || !expected.held_before(current)) {
        return Err(EditError::Precondition { current });
    }
    let version = change.product_version.unwrap_or(known.version);
    let created = change.created();
    write(statements, &[change], "", clock).await?;
    Ok(Edited { product: edit.clone(), version, created })
}

fn patched(sku: &Sku, known: &KnownProduct, patch: &Patch) -> Result<ProductEdit, DbErr> {
    let (code, minor) = known.price.as_ref().ok_or_else(|| broken("a product that is for sale has no price"))?;
    let currency = Currency::from_code(code).map_err(|error| broken(&error.to_string()))?;
    // One that no page could have is left out: it was stored before names were checked.
    let collections = || known.collections.iter().filter_map(|name| name.parse().ok()).collect();
    Ok(ProductEdit {
        sku: sku.clone(),
        title: patch.title.clone().unwrap_or_else(|| known.title.clone()),
        description: patch.description.clone().unwrap_or_else(|| known.description.clone()),
        image: patch.image.clone().unwrap_or_else(|| known.image.clone()),
        collections: patch.collections.clone().unwrap_or_else(collections),
        price: Money::new(patch.price_minor.unwrap_or(*minor), patch.currency.unwrap_or(currency)),
        on_hand: None,
        low_threshold: None,
    })
}

async fn commit(tx: Transaction) -> Result<(), EditError> {
    Ok(tx.commit().await?)
}
