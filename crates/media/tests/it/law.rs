//! The law: every reference has its bytes, whatever happened in which order; and after the collector there are no others.

use std::collections::BTreeSet;

use bytes::Bytes;
use mana_media::{Location, Media};
use mana_testkit::TestDb;
use mana_types::{MediaId, UserId};
use proptest::prelude::*;

use crate::{LATE, World, empty, upload};

const BLOBS: [&[u8]; 4] = [b"one", b"two", b"three", b"four"];

#[derive(Debug, Clone)]
enum Step {
    Upload(bool, usize),
    Delete(bool, usize),
    Collect,
    Later(i64),
    /// Everything at once, as far as it goes.
    Race(Vec<(bool, bool, usize)>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), 0..4_usize).prop_map(|(who, blob)| Step::Upload(who, blob)),
        4 => (any::<bool>(), 0..4_usize).prop_map(|(who, blob)| Step::Delete(who, blob)),
        2 => Just(Step::Collect),
        1 => (1..4_000_000_i64).prop_map(Step::Later),
        2 => prop::collection::vec((any::<bool>(), any::<bool>(), 0..4_usize), 1..6).prop_map(Step::Race),
    ]
}

async fn id_of(media: &Media, user: UserId, blob: usize) -> Option<MediaId> {
    let hash = mana_media::Hash::of(BLOBS[blob]);
    media.by_hash(&hash, mana_media::Viewer::User(user)).await.expect("an answer").map(|record| record.id)
}

async fn put(media: &Media, user: UserId, blob: usize) {
    // Deleted by the race within the moment between its transaction and its answer: there is nothing to show.
    match media.put(upload(user, "a"), Bytes::from_static(BLOBS[blob])).await {
        Ok(_) | Err(mana_media::Error::UnknownMedia) => {}
        Err(error) => panic!("{error}"),
    }
}

async fn drop_reference(media: &Media, user: UserId, blob: usize) -> bool {
    let Some(id) = id_of(media, user, blob).await else { return false };
    media.delete(id, user, None).await.is_ok()
}

/// What each of the two holds, by what was done; what a race decides is read back.
async fn run(world: &World, steps: &[Step]) {
    let who = |anna: bool| if anna { world.anna } else { world.ben };
    let mut held: BTreeSet<(bool, usize)> = BTreeSet::new();
    for step in steps {
        match step {
            Step::Upload(anna, blob) => {
                put(&world.media, who(*anna), *blob).await;
                held.insert((*anna, *blob));
            }
            Step::Delete(anna, blob) => {
                assert_eq!(drop_reference(&world.media, who(*anna), *blob).await, held.remove(&(*anna, *blob)));
            }
            Step::Collect => {
                world.media.collect(LATE).await.expect("collected");
            }
            Step::Later(millis) => world.test.clock.advance_millis(*millis),
            Step::Race(all) => {
                let collecting = async {
                    world.media.collect(LATE).await.expect("collected");
                };
                let rest = futures::future::join_all(all.iter().map(|(uploads, anna, blob)| async {
                    if *uploads {
                        put(&world.media, who(*anna), *blob).await;
                    } else {
                        drop_reference(&world.media, who(*anna), *blob).await;
                    }
                }));
                tokio::join!(collecting, rest);
                for (anna, blob) in [true, false].into_iter().flat_map(|anna| (0..4).map(move |blob| (anna, blob))) {
                    let touched = all.iter().any(|(_, who, what)| (*who, *what) == (anna, blob));
                    let holds = id_of(&world.media, who(anna), blob).await.is_some();
                    assert!(touched || holds == held.contains(&(anna, blob)), "somebody else's reference changed");
                    if holds {
                        held.insert((anna, blob));
                    } else {
                        held.remove(&(anna, blob));
                    }
                }
            }
        }
        for (anna, blob) in &held {
            let id = id_of(&world.media, who(*anna), *blob).await.expect("held");
            assert_eq!(world.media.bytes(id, who(*anna)).await.expect("its bytes are there"), BLOBS[*blob]);
        }
    }
    world.collect_all().await;
    let report = world.fsck().await;
    let blobs: BTreeSet<usize> = held.iter().map(|(_, blob)| *blob).collect();
    assert!(report.is_clean() && report.young == 0, "{report:?}");
    assert_eq!((report.media, report.objects), (blobs.len() as u64, blobs.len() as u64), "{report:?}");
}

fn law(test: Option<TestDb>, runtime: &tokio::runtime::Runtime, cases: u32) {
    let Some(test) = test else { return };
    let config =
        ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..25), on_disk in any::<bool>())| {
        runtime.block_on(async {
            empty(&test).await;
            let world = World::new(test.clone(), |path| if on_disk { Location::Disk(path) } else { Location::Memory }).await;
            run(&world, &steps).await;
        });
    });
}

#[test]
fn every_reference_has_its_bytes_and_no_other_bytes_stay() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    law(Some(runtime.block_on(mana_testkit::sqlite())), &runtime, 60);
    law(runtime.block_on(mana_testkit::postgres()), &runtime, 60);
}
