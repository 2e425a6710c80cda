//! The games that exist, read from the database once at start, and what a client may subscribe to.

use std::collections::HashMap;
use std::sync::Arc;

use lastmile_wire::request::Topic;

/// A game's place in the catalog: what the hub and the shards know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GameIndex(u32);

impl GameIndex {
    /// As an index into a table with one entry a game.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The games a subscriber gets rounds of, in rising order. Equal sets are equal values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subscription(Arc<[GameIndex]>);

/// What a client wants to be different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// To get these, too.
    Add(Vec<GameIndex>),
    /// To get these no more.
    Remove(Vec<GameIndex>),
}

impl Subscription {
    /// The games.
    pub fn games(&self) -> &[GameIndex] {
        &self.0
    }

    /// The games after a change.
    #[must_use]
    pub fn changed(&self, change: &Change) -> Self {
        let mut games = self.0.to_vec();
        match change {
            Change::Add(more) => games.extend_from_slice(more),
            Change::Remove(gone) => games.retain(|game| !gone.contains(game)),
        }
        games.sort_unstable();
        games.dedup();
        Self(games.into())
    }
}

/// All games.
#[derive(Debug)]
pub struct Catalog {
    slugs: Vec<String>,
    by_slug: HashMap<String, Subscription>,
    by_type: HashMap<String, Subscription>,
}

impl Catalog {
    /// A catalog of games given as slug and type.
    pub fn new(games: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut slugs = Vec::new();
        let mut by_slug = HashMap::new();
        let mut types: HashMap<String, Vec<GameIndex>> = HashMap::new();
        for (slug, game_type) in games {
            let game = GameIndex(slugs.len() as u32);
            by_slug.insert(slug.clone(), Subscription(Arc::new([game])));
            types.entry(game_type).or_default().push(game);
            slugs.push(slug);
        }
        let by_type = types.into_iter().map(|(name, games)| (name, Subscription(games.into()))).collect();
        Self { slugs, by_slug, by_type }
    }

    /// How many games there are.
    pub fn len(&self) -> usize {
        self.slugs.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.slugs.is_empty()
    }

    /// Every game with its slug.
    pub fn games(&self) -> impl Iterator<Item = (GameIndex, &str)> {
        self.slugs.iter().enumerate().map(|(index, slug)| (GameIndex(index as u32), slug.as_str()))
    }

    /// The slug of a game of this catalog.
    pub fn slug(&self, game: GameIndex) -> &str {
        &self.slugs[game.index()]
    }

    /// The game of a slug.
    pub fn game(&self, slug: &str) -> Option<GameIndex> {
        self.by_slug.get(slug).map(|subscription| subscription.0[0])
    }

    /// What a topic stands for; `None` where there is no such game or type.
    pub fn resolve(&self, topic: &Topic) -> Option<Subscription> {
        match topic {
            Topic::Game(slug) => self.by_slug.get(slug),
            Topic::Type(name) => self.by_type.get(name),
        }
        .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_the_union_of_its_games() {
        let catalog = Catalog::new(
            [("crash", "multiplier"), ("double", "color"), ("aviator", "multiplier")]
                .map(|(slug, game_type)| (slug.to_owned(), game_type.to_owned())),
        );
        let games = |topic| catalog.resolve(&topic).map(|found| found.games().to_vec());
        assert_eq!(games(Topic::Type("multiplier".into())), Some(vec![GameIndex(0), GameIndex(2)]));
        assert_eq!(games(Topic::Game("double".into())), Some(vec![GameIndex(1)]));
        assert_eq!(games(Topic::Game("multiplier".into())), None);
        assert_eq!(games(Topic::Type("crash".into())), None);
        assert_eq!(catalog.game("aviator"), Some(GameIndex(2)));
        assert_eq!(catalog.slug(GameIndex(2)), "aviator");
        let color = catalog.resolve(&Topic::Type("color".into())).unwrap();
        let both = color.changed(&Change::Add(vec![GameIndex(2), GameIndex(1), GameIndex(2)]));
        assert_eq!(both.games(), [GameIndex(1), GameIndex(2)]);
        assert_eq!(both.changed(&Change::Remove(vec![GameIndex(0), GameIndex(2)])), color);
    }
}
