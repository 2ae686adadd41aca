//! Files that rotation compresses, and compressed files that break off.

use super::*;

#[test]
fn a_copy_that_is_compressed_within_the_look_that_reads_its_original_is_read_once() {
    for is_known in [false, true] {
        let mut world = World::new();
        let live = world.path(0, None);
        write(&world, &live, 1..20);
        if is_known {
            world.look(false);
        }
        write(&world, &live, 1..40);
        // The compressed file has the time of its original, and the original is still there when the folder is listed.
        let packed = with(&live, ".gz");
        let mut encoder = GzEncoder::new(File::create(&packed).unwrap(), Compression::fast());
        encoder.write_all(&fs::read(&live).unwrap()).unwrap();
        encoder.finish().unwrap();
        world.pass_time(Duration::from_secs(60));
        world.look_while(
            false,
            vec![(
                1,
                true,
                Change::Rotate {
                    file: 0,
                    scheme: Scheme::Rename,
                },
            )],
        );
        world.check();
    }
}

#[test]
fn a_broken_compressed_file_is_read_as_far_as_it_goes_and_its_whole_successor_from_there() {
    let mut world = World::new();
    let text: String = (1..=2_000)
        .map(|number| format!("line {number} {}\n", number * 7_919 % 10_007))
        .collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();
    let path = world.folder.path().join("app.log.gz");
    // Cut in its first half, so that the content that can be unpacked is no whole stream.
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let now = world.pass_time(Duration::from_secs(60));
    let looked = world.follower.look(&world.watched(), now).unwrap();
    assert!(matches!(looked.chunks[0].content, Content::Whole(..)));
    let reason = looked.left_out.values().next().unwrap();
    assert!(
        reason.starts_with("it is broken: app.log.gz is truncated: its gzip stream ends after "),
        "{reason}"
    );
    let read = looked.chunks[0].after.offset;
    assert!(text[..usize::try_from(read).unwrap()].ends_with('\n'));
    world.rows.insert(
        looked.chunks[0].after.id.clone(),
        looked.chunks[0].after.clone(),
    );
    world.follower.written(looked.chunks, 0);
    fs::write(&path, &whole).unwrap();
    world.pass_time(Duration::from_secs(60));
    world.settle();
    assert_eq!(
        world.read.concat().len() + world.read.len(),
        text.len() - usize::try_from(read).unwrap()
    );
}
