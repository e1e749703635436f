//! What can happen, and a list of it from a seed.

/// One thing that happens. Recorders are numbered 0 and 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Time passes, in seconds.
    Advance(i64),
    /// A recorder's cycle runs for a tick: its clock's minute.
    Tick(usize),
    /// A cycle runs without a tick, as in a program that is started once.
    Untimed(usize),
    /// Both cycles run at once.
    Both,
    /// The next visit of a recorder goes wrong.
    Api(usize, Fault),
    /// A recorder cannot reach the database any more.
    Cut(usize),
    /// It can again.
    Heal(usize),
    /// Nobody reaches the database any more.
    DatabaseDown,
    /// Everybody does.
    DatabaseUp,
    /// Something happens to the connection at the nth message that a recorder sends from now on.
    Strike { who: usize, nth: u32, moment: Moment, then: Then },
    /// What a connection holds back goes on.
    Release(usize),
    /// A process is killed, and another one started, with so many bytes of a record that was cut short.
    Crash { who: usize, torn: u8, disk: Disk },
    /// A process ends in peace, and another one is started.
    Stop { who: usize, disk: Disk },
    /// What waits is tried again.
    CatchUp(usize),
    /// The leader's lease runs out, as if it had been paused.
    LeaseEnds,
    /// A recorder's clock is set, by so many seconds.
    SetClock(usize, i64),
}

/// How a visit goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    NoListing,
    NoStatistics,
    Nothing,
    /// So many desktops are missing.
    Missing(usize),
    /// The API counts differently in the midst of it.
    UnknownTotal,
}

/// When a strike comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the database hears of the message.
    Before,
    /// When it has answered, but before the recorder hears of that.
    After,
    /// As [`Self::After`], at the nth commit.
    Commit,
}

/// What a strike does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// All connections break; new ones are made.
    Break,
    /// They break, and no new ones are made.
    Cut,
    /// The process dies, and is started again.
    Die,
    /// The message, or the answer, is held back until [`Op::Release`]; whoever waits for it runs out of patience.
    Stall,
}

/// A recorder's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    Roomy,
    /// So many bytes; then nothing is visited.
    Stop(u64),
    /// So many bytes; then the oldest are dropped.
    DropOldest(u64),
}

/// Chance that stays the same: SplitMix64.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn of(parts: &[u64]) -> Self {
        let mut dice = Self(0x5EED);
        for part in parts {
            dice.0 = dice.next().wrapping_add(*part);
        }
        dice
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A list of ops. What happens more often differs from seed to seed.
pub fn draw(seed: u64, length: usize) -> Vec<Op> {
    let mut dice = Dice::of(&[seed, 1]);
    // Tick, untimed, both, API, cut, heal, down, up, strike, release, crash, stop, catch up, lease, clock.
    let usual = [30, 2, 3, 5, 3, 4, 2, 5, 14, 5, 4, 2, 3, 3, 6];
    let weights: Vec<u64> =
        usual.iter().map(|usual| usual * [0, 1, 1, 2][dice.below(4) as usize]).collect();
    let weights = if weights[0] == 0 { usual.to_vec() } else { weights };
    let other = dice.below(3);
    let mut ops = Vec::new();
    while ops.len() < length {
        let who = usize::from(dice.below(3) < other);
        if dice.below(2) == 0 {
            ops.push(Op::Advance(advance(&mut dice)));
        }
        let mut left = dice.below(weights.iter().sum());
        let kind = weights.iter().position(|weight| {
            let is_it = left < *weight;
            left = left.saturating_sub(*weight);
            is_it
        });
        let op = match kind.unwrap() {
            0 => Op::Tick(who),
            1 => Op::Untimed(who),
            2 => Op::Both,
            3 => Op::Api(who, fault(&mut dice)),
            4 => Op::Cut(who),
            5 => Op::Heal(who),
            6 => Op::DatabaseDown,
            7 => Op::DatabaseUp,
            8 => {
                ops.push(strike(&mut dice, who));
                Op::Tick(who)
            }
            9 => Op::Release(who),
            10 => {
                let torn = if dice.below(2) == 0 { 0 } else { 1 + dice.below(60) as u8 };
                Op::Crash { who, torn, disk: disk(&mut dice) }
            }
            11 => Op::Stop { who, disk: disk(&mut dice) },
            12 => Op::CatchUp(who),
            13 => Op::LeaseEnds,
            _ => Op::SetClock(who, by(&mut dice)),
        };
        ops.push(op);
    }
    ops
}

fn advance(dice: &mut Dice) -> i64 {
    let most = [90, 300, 300, 300, 1_200, 3_600, 90_000][dice.below(7) as usize];
    1 + dice.below(most) as i64
}

fn by(dice: &mut Dice) -> i64 {
    let most = [5, 60, 600, 7_200][dice.below(4) as usize];
    let by = 1 + dice.below(most) as i64;
    if dice.below(2) == 0 { by } else { -by }
}

fn fault(dice: &mut Dice) -> Fault {
    match dice.below(6) {
        0 => Fault::NoListing,
        1 => Fault::NoStatistics,
        2 => Fault::Nothing,
        3 => Fault::UnknownTotal,
        _ => Fault::Missing(1 + dice.below(4) as usize),
    }
}

fn strike(dice: &mut Dice, who: usize) -> Op {
    let moment = [Moment::Before, Moment::After, Moment::Commit][dice.below(3) as usize];
    let then = [Then::Break, Then::Cut, Then::Die, Then::Stall][dice.below(4) as usize];
    let most = if moment == Moment::Commit { 2 } else { 14 };
    Op::Strike { who, nth: 1 + dice.below(most) as u32, moment, then }
}

fn disk(dice: &mut Dice) -> Disk {
    match dice.below(6) {
        0 => Disk::Stop(100 + dice.below(3_000)),
        1 | 2 => Disk::DropOldest(600 + dice.below(3_000)),
        _ => Disk::Roomy,
    }
}
