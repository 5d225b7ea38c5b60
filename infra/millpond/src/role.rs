//! The roles of the one binary.

use std::collections::BTreeSet;

use clap::ValueEnum;

/// A part of Millpond that can run by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// Orders and page events in.
    Ingress,
    /// Pages, products, stock and the status of orders out; catalogue and stock in.
    Storefront,
    /// Orders into the regions' databases.
    Checkout,
    /// The outbox to the broker.
    Relay,
    /// Changes to purges: of pages in every process, and in CDNs.
    Invalidation,
    /// Page events and outcomes into rollups.
    Analytics,
    /// Parked messages into a table, and back.
    Parker,
    /// What operators ask and do.
    Ops,
}

/// What `run` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    /// Every role, in this process.
    All,
    /// Orders and page events in, over HTTP.
    Ingress,
    /// Pages, products, stock and the status of orders out, catalogue and stock in, over HTTP.
    Storefront,
    /// Orders into the regions' databases.
    Checkout,
    /// The outbox to the broker.
    Relay,
    /// Changes to purges: of pages in every process, and in CDNs.
    Invalidation,
    /// Page events and outcomes into rollups.
    Analytics,
    /// Parked messages into a table, and back into their queues.
    Parker,
    /// What operators ask and do, over HTTP on a port of its own.
    Ops,
}

impl Role {
    /// Every role.
    pub(crate) const ALL: [Self; 8] = [
        Self::Ingress,
        Self::Storefront,
        Self::Checkout,
        Self::Relay,
        Self::Invalidation,
        Self::Analytics,
        Self::Parker,
        Self::Ops,
    ];

    /// The roles that these arguments name, each once.
    pub(crate) fn set(args: &[RoleArg]) -> BTreeSet<Self> {
        args.iter().flat_map(|arg| arg.roles().iter().copied()).collect()
    }

    /// Whether it takes messages from queues.
    pub(crate) fn consumes(self) -> bool {
        match self {
            Self::Checkout | Self::Invalidation | Self::Analytics | Self::Parker => true,
            Self::Ingress | Self::Storefront | Self::Relay | Self::Ops => false,
        }
    }

    /// Whether it works at a pace of its own, and answers nobody's requests.
    pub(crate) fn works_by_itself(self) -> bool {
        self.consumes() || self == Self::Relay
    }

    /// Whether it reads lists and reports, which replicas answer.
    pub(crate) fn reads_lists(self) -> bool {
        matches!(self, Self::Storefront | Self::Ops)
    }

    /// The role's name, in logs and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Storefront => "storefront",
            Self::Checkout => "checkout",
            Self::Relay => "relay",
            Self::Invalidation => "invalidation",
            Self::Analytics => "analytics",
            Self::Parker => "parker",
            Self::Ops => "ops",
        }
    }
}

impl RoleArg {
    fn roles(self) -> &'static [Role] {
        match self {
            Self::All => &Role::ALL,
            Self::Ingress => &[Role::Ingress],
            Self::Storefront => &[Role::Storefront],
            Self::Checkout => &[Role::Checkout],
            Self::Relay => &[Role::Relay],
            Self::Invalidation => &[Role::Invalidation],
            Self::Analytics => &[Role::Analytics],
            Self::Parker => &[Role::Parker],
            Self::Ops => &[Role::Ops],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_every_role_once_whatever_else_is_named() {
        assert_eq!(Role::set(&[RoleArg::Checkout, RoleArg::All]), BTreeSet::from(Role::ALL));
        for role in Role::ALL {
            let named: Vec<_> = RoleArg::value_variants().iter().filter(|arg| arg.roles() == [role]).collect();
            assert_eq!(named.len(), 1, "{} can be run by itself", role.name());
        }
    }
}
