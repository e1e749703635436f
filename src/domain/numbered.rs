//! Things in the order of their numbers, from 1, found by their number and by what they are.
//!
//! What tells a thing from the others is kept in the thing alone: the table beside the list holds numbers. A fleet's
//! users, names and assignments are hundreds of thousands of things, and a map of keys would hold each of them again.

use std::hash::{BuildHasher, Hash};
use std::ops::{Index, IndexMut};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// What tells a thing from the others of its list.
pub(super) trait Identity {
    type Key<'a>: Eq + Hash
    where
        Self: 'a;

    fn key(&self) -> Self::Key<'_>;
}

/// Things, and their numbers.
#[derive(Clone, Debug)]
pub(super) struct Numbered<T> {
    things: Vec<T>,
    numbers: HashTable<i32>,
    hasher: RandomState,
}

impl<T: Identity> Numbered<T> {
    /// Numbers what there is. Of things that nothing tells apart any more, as after an erasure, the last is found.
    pub fn new(things: Vec<T>) -> Self {
        let mut numbered = Self {
            numbers: HashTable::with_capacity(things.len()),
            things,
            hasher: RandomState::default(),
        };
        for at in 0..numbered.things.len() {
            numbered.enter(number(at));
        }
        numbered
    }

    /// The number of the thing that is this.
    pub fn find<'a>(&'a self, key: &T::Key<'a>) -> Option<i32> {
        let hash = self.hasher.hash_one(key);
        self.numbers.find(hash, |no| self[*no].key() == *key).copied()
    }

    /// Adds a thing that was not there, and says its number.
    pub fn push(&mut self, thing: T) -> i32 {
        self.things.push(thing);
        let no = number(self.things.len() - 1);
        self.enter(no);
        no
    }

    fn enter(&mut self, no: i32) {
        let Self { things, numbers, hasher } = self;
        let key = |no: &i32| things[index(*no)].key();
        let hash = hasher.hash_one(key(&no));
        match numbers.find_mut(hash, |other| key(other) == key(&no)) {
            Some(other) => *other = no,
            None => {
                numbers.insert_unique(hash, no, |other| hasher.hash_one(key(other)));
            }
        }
    }
}

impl<T> Numbered<T> {
    /// What stands under a number.
    pub fn get(&self, no: i32) -> Option<&T> {
        self.things.get(usize::try_from(i64::from(no) - 1).ok()?)
    }

    /// The same, to be changed in what does not tell it from others.
    pub fn get_mut(&mut self, no: i32) -> Option<&mut T> {
        self.things.get_mut(usize::try_from(i64::from(no) - 1).ok()?)
    }

    /// All things, in the order of their numbers.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.things.iter()
    }

    /// The same, to be changed in what does not tell them apart.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.things.iter_mut()
    }

    /// All numbers, in order.
    pub fn numbers(&self) -> impl Iterator<Item = i32> + use<T> {
        (0..self.things.len()).map(number)
    }
}

impl<T> Index<i32> for Numbered<T> {
    type Output = T;

    fn index(&self, no: i32) -> &T {
        &self.things[index(no)]
    }
}

impl<T> IndexMut<i32> for Numbered<T> {
    fn index_mut(&mut self, no: i32) -> &mut T {
        &mut self.things[index(no)]
    }
}

/// The place of number `no` in its list.
fn index(no: i32) -> usize {
    usize::try_from(no - 1).expect("numbers begin with 1")
}

/// The number of what stands at `index` of its list.
fn number(index: usize) -> i32 {
    i32::try_from(index + 1).expect("fewer than 2^31 things fit in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Thing(String, u8);

    impl Identity for Thing {
        type Key<'a> = &'a str;

        fn key(&self) -> &str {
            &self.0
        }
    }

    #[test]
    fn a_thing_is_found_by_its_number_and_by_what_it_is() {
        let mut things = Numbered::new(Vec::new());
        for no in 1..=1_000 {
            assert_eq!(things.push(Thing(format!("thing {no}"), 0)), no);
        }
        let wanted = "thing 417".to_owned();
        assert_eq!(things.find(&&*wanted), Some(417));
        assert_eq!(things.find(&"thing 1001"), None);
        assert_eq!(things[417], Thing(wanted, 0));
        assert_eq!((things.get(0), things.get(1_001)), (None, None));
        assert_eq!(things.numbers().collect::<Vec<_>>(), (1..=1_000).collect::<Vec<_>>());
    }

    #[test]
    fn of_things_that_are_the_same_the_last_is_found() {
        let thing = |number| Thing("erased".to_owned(), number);
        let mut things = Numbered::new(vec![thing(1), Thing("other".to_owned(), 2), thing(3)]);
        assert_eq!(things.find(&"erased"), Some(3));
        assert_eq!(things.push(thing(4)), 4);
        assert_eq!(things.find(&"erased"), Some(4));
        assert_eq!(things[1], thing(1));
    }
}
