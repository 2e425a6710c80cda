//! Games that subscribers are spread over: who is on which, and what is expected of whom.

use lastmile_wire::request::Topic;

use crate::message::Game;

/// What a subscriber asks for, and whose rounds are published to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// What is subscribed to.
    pub topic: Topic,
    /// Whose rounds are published; part of the topic.
    pub game: Game,
}

impl Channel {
    /// Channels of so many games made for measuring. Their names are of one length, and so are their messages.
    pub fn synthetic(count: usize) -> impl Iterator<Item = Self> {
        (1..=count).map(|number| {
            let slug = format!("channel-{number:06}");
            // Far above the games that every database has, and of one number of digits.
            let game =
                Game { id: 1_000_000 + number as u64, slug: slug.clone(), game_type: "channel".into() };
            Self { topic: Topic::Game(slug), game }
        })
    }
}

/// Subscribers and messages take turns over channels: subscriber `n` and message `n` are of channel `n % channels`.
/// Seen from a worker, whose subscribers are numbered from 0, the first one may be on any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    channels: usize,
    first: usize,
}

impl Turns {
    /// Turns over so many channels, at least one, for subscribers numbered over all workers.
    pub fn new(channels: usize) -> Self {
        Self { channels: channels.max(1), first: 0 }
    }

    /// The same as seen by a worker whose first subscriber has this number among all.
    #[must_use]
    pub fn from(self, first: usize) -> Self {
        Self { first, ..self }
    }

    /// How many channels there are.
    pub fn channels(self) -> usize {
        self.channels
    }

    /// The channel of a subscriber.
    #[inline]
    pub fn of_subscriber(self, subscriber: usize) -> usize {
        // Nearly always there is one, and a division costs as much as the rest of a receipt's books.
        if self.channels == 1 { 0 } else { (self.first + subscriber) % self.channels }
    }

    /// The channel of a message.
    #[inline]
    pub fn of_message(self, index: usize) -> usize {
        if self.channels == 1 { 0 } else { index % self.channels }
    }

    /// A message's number among those of its channel.
    #[inline]
    pub fn within_channel(self, index: usize) -> usize {
        if self.channels == 1 { index } else { index / self.channels }
    }

    /// How many of `subscribers` are on a channel.
    pub fn listeners(self, channel: usize, subscribers: usize) -> usize {
        let before = (channel + self.channels - self.first % self.channels) % self.channels;
        subscribers.saturating_sub(before).div_ceil(self.channels)
    }

    /// Most of `subscribers` that are on one channel.
    pub fn most_listeners(self, subscribers: usize) -> usize {
        subscribers.div_ceil(self.channels)
    }

    /// A subscriber's number among those of its channel.
    #[inline]
    pub fn among_listeners(self, subscriber: usize) -> usize {
        if self.channels == 1 { subscriber } else { subscriber / self.channels }
    }

    /// Deliveries of the messages `from .. to` that `subscribers` expect.
    pub fn expected(self, from: usize, to: usize, subscribers: usize) -> u64 {
        let messages = to.saturating_sub(from);
        // A whole round of the channels reaches everyone once.
        let rounds = (messages / self.channels) as u64 * subscribers as u64;
        let rest = (from..from + messages % self.channels)
            .map(|index| self.listeners(self.of_message(index), subscribers) as u64);
        rounds + rest.sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_agrees_with_counting_one_by_one() {
        for (channels, subscribers, first) in [(1, 5, 0), (3, 10, 0), (4, 3, 0), (5, 12, 7), (7, 2, 3)] {
            let turns = Turns::new(channels).from(first);
            for channel in 0..channels {
                let on_it: Vec<usize> = (0..subscribers)
                    .filter(|&subscriber| turns.of_subscriber(subscriber) == channel)
                    .collect();
                assert_eq!(turns.listeners(channel, subscribers), on_it.len(), "{turns:?} {channel}");
                assert!(on_it.len() <= turns.most_listeners(subscribers));
                let places: Vec<usize> = on_it.iter().map(|&one| turns.among_listeners(one)).collect();
                assert_eq!(places, (0..on_it.len()).collect::<Vec<_>>(), "places without a gap");
            }
            for (from, to) in [(0, 0), (0, 1), (2, 9), (3, 100), (9, 3)] {
                let one_by_one: usize =
                    (from..to).map(|index| turns.listeners(turns.of_message(index), subscribers)).sum();
                assert_eq!(turns.expected(from, to, subscribers), one_by_one as u64, "{turns:?} {from} {to}");
            }
        }
        assert_eq!((Turns::new(3).of_message(7), Turns::new(3).within_channel(7)), (1, 2));
    }

    #[test]
    fn names_of_channels_have_one_length() {
        let channels: Vec<Channel> = Channel::synthetic(12).collect();
        assert!(channels.iter().all(|channel| channel.game.slug.len() == channels[0].game.slug.len()));
        assert_eq!(channels[11].topic, Topic::Game("channel-000012".into()));
    }
}
