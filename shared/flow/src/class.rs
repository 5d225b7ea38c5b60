//! What requests are worth when not all can be taken.

/// A kind of request, by what it is worth to the shop: the first is kept longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A customer pays.
    Orders,
    /// A shop changes what it sells.
    Catalogue,
    /// Somebody looked at a page: the first to go.
    Events,
}

impl Class {
    /// Every class, the one that is kept longest first.
    pub const ALL: [Self; 3] = [Self::Orders, Self::Catalogue, Self::Events];

    /// Its name, in settings and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Catalogue => "catalogue",
            Self::Events => "events",
        }
    }
}
