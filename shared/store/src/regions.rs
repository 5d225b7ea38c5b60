//! Region to database, as configured.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{RegionName, RegionNumber};

use crate::config::Config;
use crate::database::Database;
use crate::error::Error;
use crate::replica::{Position, Reader, Reads};

/// A region and the database that holds it.
#[derive(Debug, Clone)]
pub struct Region {
    /// What people, queues and routing keys call it.
    pub name: RegionName,
    /// Permanent: the first two bytes of its order ids.
    pub number: RegionNumber,
    /// Where it lives; shared by the regions that live there.
    pub database: Arc<Database>,
}

impl Region {
    /// Reads for one request, by a replica of its database under the lag limit, else by the primary.
    pub fn reader(&self, reads: Reads) -> Reader {
        self.database.reader(reads)
    }

    /// As [`Self::reader`], by a replica that is known to have replayed `position`; where that is not known, the primary.
    pub fn reader_at(&self, reads: Reads, position: Option<Position>) -> Reader {
        self.database.reader_at(reads, position)
    }
}

/// Every region and database of the configuration.
#[derive(Debug, Clone)]
pub struct Databases {
    regions: BTreeMap<RegionNumber, Region>,
    all: Vec<Arc<Database>>,
    analytics: Arc<Database>,
}

impl Databases {
    /// Opens what `config` names. Connects to nothing yet; must be called on a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Config`] for a configuration that can't work.
    pub fn open(config: &Config) -> Result<Self, Error> {
        config.check()?;
        let databases = config
            .database
            .iter()
            .map(|(name, database)| Ok((name.as_str(), Arc::new(Database::open(name, database)?))))
            .collect::<Result<BTreeMap<_, _>, Error>>()?;
        let find = |name: &str| {
            databases.get(name).cloned().ok_or_else(|| Error::config(format!("there is no database {name:?}")))
        };
        let regions = config
            .region
            .iter()
            .map(|region| {
                let database = find(&region.database)?;
                Ok((region.number, Region { name: region.name.clone(), number: region.number, database }))
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self { regions, analytics: find(&config.analytics)?, all: databases.into_values().collect() })
    }

    /// The region with this number.
    pub fn region(&self, number: RegionNumber) -> Option<&Region> {
        self.regions.get(&number)
    }

    /// The region with this name.
    pub fn by_name(&self, name: &RegionName) -> Option<&Region> {
        self.regions.values().find(|region| region.name == *name)
    }

    /// Every region, by number.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.values()
    }

    /// Every database once, by name.
    pub fn databases(&self) -> &[Arc<Database>] {
        &self.all
    }

    /// The database that holds what analytics counts.
    pub fn analytics(&self) -> &Arc<Database> {
        &self.analytics
    }

    /// Closes every pool; what is under way finishes first.
    pub async fn close(&self) {
        futures::future::join_all(self.all.iter().map(|database| database.close())).await;
    }
}
