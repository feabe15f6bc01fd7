use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use acquaint_protocol::pair::Suite;

use super::*;
use crate::software::SoftwareCustody;

/// 2026-01-01T00:00:00Z.
const NEW_YEAR: i64 = 1_767_225_600_000;
const PAIR: KeyId = KeyId { purpose: Purpose::Pair, version: 1 };

struct Setting {
    time: Arc<AtomicI64>,
    folder: tempfile::TempDir,
}

impl Setting {
    fn new() -> Self {
        Self { time: Arc::new(AtomicI64::new(NEW_YEAR)), folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("budget.json")
    }

    fn budgeted(&self, budget: Budget) -> Budgeted<SoftwareCustody> {
        let custody = SoftwareCustody::generate(Suite::STANDARD).unwrap();
        self.over(custody, budget).unwrap()
    }

    fn over<C: KeyCustody>(&self, custody: C, budget: Budget) -> Result<Budgeted<C>, BudgetFileError> {
        let time = Arc::clone(&self.time);
        let clock: Clock = Arc::new(move || time.load(Ordering::SeqCst));
        Budgeted::new(custody, BTreeMap::from([(Purpose::Pair, budget)]), Some(self.file()), clock)
    }

    fn pass(&self, milliseconds: i64) {
        self.time.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

fn hash(custody: &dyn KeyCustody, count: usize) -> Result<usize, Duration> {
    told(custody.hmac(PAIR, &vec![&b"x"[..]; count]))
}

fn hash_for(custody: &dyn KeyCustody, account: u8, count: usize) -> Result<usize, Duration> {
    told(custody.hmac_for(PAIR, ShareTag([account; 16]), &vec![&b"x"[..]; count]))
}

fn told(outcome: Result<Vec<[u8; 32]>, CustodyError>) -> Result<usize, Duration> {
    match outcome {
        Ok(hashes) => Ok(hashes.len()),
        Err(CustodyError::OverBudget { key, retry_after }) if key == PAIR => Err(retry_after),
        Err(error) => panic!("{error}"),
    }
}

const MANY: Budget = Budget { per_second: 1_000_000, per_day: 1_000_000_000, per_account_and_day: None };

#[test]
fn keeps_the_contract() {
    let setting = Setting::new();
    let other = SoftwareCustody::generate(Suite::STANDARD).unwrap();
    crate::conformance::run(&setting.budgeted(MANY), &other);
}

#[test]
fn the_rate_holds_and_no_batch_is_too_large_for_ever() {
    let setting = Setting::new();
    let custody = setting.budgeted(Budget { per_second: 10, ..MANY });
    assert_eq!(hash(&custody, 4), Ok(4));
    assert_eq!(hash(&custody, 6), Ok(6));
    assert_eq!(hash(&custody, 1), Err(Duration::from_millis(1)));
    setting.pass(100);
    assert_eq!(hash(&custody, 32), Ok(32), "what is too large takes it in advance");
    assert_eq!(hash(&custody, 1), Err(Duration::from_millis(3101)));
    setting.pass(3100);
    assert_eq!(hash(&custody, 1), Err(Duration::from_millis(1)));
    setting.pass(1);
    assert_eq!(hash(&custody, 1), Ok(1));
    // A bucket holds a second's worth, however long nothing was asked.
    setting.pass(3_600_000);
    assert_eq!(hash(&custody, 10), Ok(10));
    assert!(hash(&custody, 1).is_err());
    // A clock that goes back gives nothing, and takes nothing for long.
    setting.pass(-3_600_000);
    assert!(hash(&custody, 1).is_err());
    setting.pass(3_601_000);
    assert_eq!(hash(&custody, 10), Ok(10));
    let usage = custody.usage().unwrap();
    assert_eq!((usage[0].allowed, usage[0].over_second, usage.len()), (63, 5, 1));
    // What has no budget is not bounded.
    let code = KeyId { purpose: Purpose::Code, version: 1 };
    assert_eq!(custody.hmac(code, &[&b"x"[..]; 1000]).unwrap().len(), 1000);
}

#[test]
fn a_day_ends_at_midnight_and_a_restart_gives_nothing_back() {
    let setting = Setting::new();
    let budget = Budget { per_day: 1000, ..MANY };
    let mut custody = setting.budgeted(budget);
    setting.pass(3_600_000);
    assert_eq!(hash(&custody, 990), Ok(990));
    // In good order, exactly what was used is kept.
    drop(custody);
    custody = setting.budgeted(budget);
    assert_eq!(custody.usage().unwrap()[0].used_today, 990);
    let until_midnight = Duration::from_secs(23 * 3600);
    assert_eq!(hash(&custody, 11), Err(until_midnight));
    assert_eq!(hash(&custody, 1), Ok(1));
    // Killed, a step at most is lost, and nothing is gained.
    std::mem::forget(custody);
    custody = setting.budgeted(budget);
    assert_eq!(custody.usage().unwrap()[0].used_today, 1000);
    assert_eq!(hash(&custody, 1), Err(until_midnight));
    setting.pass(23 * 3_600_000 - 1);
    assert_eq!(hash(&custody, 1), Err(Duration::from_millis(1)));
    setting.pass(1);
    assert_eq!(hash(&custody, 1000), Ok(1000));
    // Back to the day before: that one is over.
    setting.pass(-7_200_000);
    assert!(hash(&custody, 1).is_err());
    let usage = custody.usage().unwrap();
    assert_eq!((usage[0].used_today, usage[0].over_day), (1000, 3));
}

#[test]
fn accounts_get_no_more_than_their_share() {
    let setting = Setting::new();
    let custody = setting.budgeted(Budget { per_day: 100, per_account_and_day: Some(30), ..MANY });
    assert_eq!(hash_for(&custody, 1, 30), Ok(30));
    assert_eq!(hash_for(&custody, 1, 1), Err(Duration::from_secs(86_400)));
    assert_eq!(hash_for(&custody, 2, 29), Ok(29));
    assert!(hash_for(&custody, 2, 2).is_err());
    assert_eq!(hash_for(&custody, 2, 1), Ok(1));
    assert_eq!(hash(&custody, 40), Ok(40), "without an account there is no share");
    assert!(hash_for(&custody, 3, 1).is_err(), "but the day's budget");
    setting.pass(DAY_MS);
    assert_eq!(hash_for(&custody, 1, 30), Ok(30));
    assert_eq!(custody.usage().unwrap()[0].over_share, 3);
}

#[test]
fn invented_accounts_share_what_is_left() {
    let setting = Setting::new();
    let custody = setting.budgeted(Budget { per_account_and_day: Some(2), ..MANY });
    for number in 0..u32::try_from(MOST_SHARES).unwrap() {
        let mut tag = [0; 16];
        tag[..4].copy_from_slice(&number.to_be_bytes());
        custody.charge(PAIR, Some(ShareTag(tag)), 1).unwrap();
        setting.pass(1);
    }
    assert_eq!(hash_for(&custody, 0, 1), Ok(1), "who was there before has the rest of the share");
    assert_eq!(hash_for(&custody, 201, 1), Ok(1));
    assert_eq!(hash_for(&custody, 202, 1), Ok(1));
    assert!(hash_for(&custody, 203, 1).is_err());
}

#[test]
fn what_cannot_be_kept_is_not_used() {
    let setting = Setting::new();
    let custody = setting.budgeted(Budget { per_day: 1000, ..MANY });
    assert_eq!(hash(&custody, 10), Ok(10));
    let folder = setting.folder.path().to_owned();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(matches!(custody.hmac(PAIR, &[b"x"; 20].map(|x| &x[..])), Err(CustodyError::Unavailable(_))));
    assert_eq!(custody.usage().unwrap()[0].allowed, 10);
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(hash(&custody, 20), Ok(20));
    drop(custody);
    for bad in [
        "",
        "{}",
        r#"{"version":2,"day":1,"used":[]}"#,
        r#"{"version":1,"day":1,"used":[{"purpose":"cheese","version":1,"operations":1}]}"#,
    ] {
        std::fs::write(setting.file(), bad).unwrap();
        let opened = setting.over(SoftwareCustody::generate(Suite::STANDARD).unwrap(), MANY);
        assert!(matches!(opened.err(), Some(BudgetFileError::Malformed(_))), "{bad}");
    }
    // A day far ahead does not overflow.
    std::fs::write(setting.file(), format!(r#"{{"version":1,"day":{},"used":[]}}"#, i64::MAX)).unwrap();
    assert_eq!(hash(&setting.budgeted(MANY), 1), Ok(1));
}

/// As an HSM that counts, which somebody else uses too.
struct Counting {
    custody: SoftwareCustody,
    counted: Arc<AtomicU64>,
    away: Arc<AtomicBool>,
}

impl KeyCustody for Counting {
    fn keys(&self) -> Vec<KeyId> {
        self.custody.keys()
    }
    fn stretching(&self, key: KeyId) -> Result<Stretching, CustodyError> {
        self.custody.stretching(key)
    }
    fn hmac(&self, key: KeyId, inputs: &[&[u8]]) -> Result<Vec<[u8; 32]>, CustodyError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(CustodyError::Unavailable("away".into()));
        }
        self.counted.fetch_add(inputs.len() as u64, Ordering::SeqCst);
        self.custody.hmac(key, inputs)
    }
    fn seal(&self, purpose: Purpose, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CustodyError> {
        self.custody.seal(purpose, aad, plaintext)
    }
    fn open(&self, purpose: Purpose, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        self.custody.open(purpose, aad, sealed)
    }
    fn audit_count(&self, _: KeyId) -> Result<Option<u64>, CustodyError> {
        Ok(Some(self.counted.load(Ordering::SeqCst)))
    }
}

#[test]
fn what_somebody_else_does_with_the_key_shows() {
    let setting = Setting::new();
    let counted = Arc::new(AtomicU64::new(5000));
    let custody = SoftwareCustody::generate(Suite::STANDARD).unwrap();
    let custody = Counting { custody, counted: Arc::clone(&counted), away: Arc::default() };
    let custody = setting.over(custody, MANY).unwrap();
    assert_eq!(hash(&custody, 7), Ok(7));
    assert_eq!(custody.usage().unwrap()[0].unaccounted, Some(0));
    counted.fetch_add(3, Ordering::SeqCst);
    assert_eq!(hash(&custody, 7), Ok(7));
    assert_eq!(custody.usage().unwrap()[0].unaccounted, Some(3));
}

#[test]
fn what_was_not_done_is_not_counted() {
    let setting = Setting::new();
    let (away, counted) = (Arc::new(AtomicBool::new(true)), Arc::default());
    let custody = SoftwareCustody::generate(Suite::STANDARD).unwrap();
    let custody = Counting { custody, counted, away: Arc::clone(&away) };
    let budget = Budget { per_second: 20, per_day: 20, per_account_and_day: Some(20) };
    let custody = setting.over(custody, budget).unwrap();
    for _ in 0..5 {
        for outcome in [
            custody.hmac(PAIR, &[b"x"; 20].map(|x| &x[..])),
            custody.hmac_for(PAIR, ShareTag([1; 16]), &[b"x"; 20].map(|x| &x[..])),
        ] {
            assert!(matches!(outcome, Err(CustodyError::Unavailable(_))));
        }
    }
    assert_eq!((custody.usage().unwrap()[0].allowed, custody.usage().unwrap()[0].used_today), (0, 0));
    away.store(false, Ordering::SeqCst);
    assert_eq!(hash_for(&custody, 1, 20), Ok(20));
    assert!(hash(&custody, 1).is_err());
}
