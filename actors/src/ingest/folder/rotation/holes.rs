//! Zero bytes in a file: a writer that keeps its place in a truncated file leaves a hole, and a file may be made large before it is written.

use super::*;

#[test]
fn a_large_document_is_stored_as_a_file_and_a_hole_in_one_is_not_stored() {
    let mut world = World::new();
    let (document, sparse) = (world.path(0, None), world.path(1, None));
    let element = format!("{{\"a\":\"{}\"}},\n", "x".repeat(1_000));
    fs::write(&document, format!("[{}{{}}]", element.repeat(67_000))).unwrap();
    write_at(&sparse, 0, "{\"a\":");
    write_at(&sparse, 300 << 20, "1}\n");
    world.pass_time(Duration::from_secs(60));
    let mut stored = Vec::new();
    for _ in 0..6 {
        let now = world.pass_time(Duration::from_secs(1));
        let looked = world.follower.look(&world.watched(), now).unwrap();
        for chunk in &looked.chunks {
            match &chunk.content {
                Content::Whole(_, written) => stored.push((0, written.bytes)),
                Content::Piece { body, .. } => stored.push((1, body.len() as u64)),
                Content::Nothing => {}
            }
        }
        world.follower.written(looked.chunks, 0);
    }
    stored.sort_unstable();
    let document = fs::metadata(&document).unwrap().len();
    assert_eq!(stored, [(0, document), (1, 67), (1, 69)]);
    let now = world.pass_time(Duration::from_secs(1));
    let looked = world.follower.look(&world.watched(), now).unwrap();
    assert!(looked.chunks.is_empty());
}

/// Writes a line at a place behind the end of a file, as a writer does that keeps its place.
fn write_at(path: &Path, place: u64, line: &str) {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap();
    file.seek(io::SeekFrom::Start(place)).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

impl World {
    /// What of the chunks of a look is holes, and what lines.
    fn holes_and_lines(&mut self, time: Duration) -> (usize, Vec<String>) {
        let now = self.pass_time(time);
        let looked = self.follower.look(&self.watched(), now).unwrap();
        let mut holes = 0;
        let mut lines = Vec::new();
        for chunk in &looked.chunks {
            if let Content::Piece { body, .. } = &chunk.content {
                let text = body
                    .iter()
                    .position(|byte| *byte != 0)
                    .unwrap_or(body.len());
                holes += usize::from(text > 0);
                assert!(text <= 64, "a hole is not stored");
                lines.extend(
                    String::from_utf8_lossy(&body[text..])
                        .lines()
                        .map(ToOwned::to_owned),
                );
            }
        }
        self.follower.written(looked.chunks, 0);
        (holes, lines)
    }

    /// The same of all looks until nothing is found for a while.
    fn all_holes_and_lines(&mut self) -> (usize, Vec<String>) {
        let mut all = (0, Vec::new());
        for _ in 0..80 {
            let (holes, lines) = self.holes_and_lines(Duration::from_millis(500));
            all.0 += holes;
            all.1.extend(lines);
        }
        all
    }
}

#[test]
fn a_hole_of_zero_bytes_is_told_of_and_the_lines_behind_it_are_read() {
    let mut world = World::new();
    write_at(&world.path(0, None), 64 << 20, "line 1 a\n");
    let found = world.holes_and_lines(Duration::from_millis(500));
    assert_eq!(found, (1, vec!["line 1 a".to_owned()]));
}

#[test]
fn a_hole_is_counted_once_though_the_file_is_copied_and_truncated_before_its_lines_are_whole() {
    let mut world = World::new();
    let (live, copy) = (world.path(0, None), world.path(0, Some(1)));
    write_at(&live, 2 << 20, "line 1");
    assert_eq!(world.holes_and_lines(Duration::from_millis(500)).0, 0);
    write_at(&live, (2 << 20) + 6, " a\n");
    fs::copy(&live, &copy).unwrap();
    File::create(&live).unwrap();
    write_at(&live, 3 << 20, "line 2 b\n");
    let (holes, mut lines) = world.all_holes_and_lines();
    lines.sort();
    assert_eq!(
        (holes, lines),
        (2, vec!["line 1 a".to_owned(), "line 2 b".to_owned()])
    );
}

#[test]
fn a_file_that_is_one_large_hole_is_one_record_and_what_is_appended_is_read() {
    let mut world = World::new();
    let path = world.path(0, None);
    // Preallocated: a hole that nothing follows is not taken before it rests.
    File::create(&path).unwrap().set_len(520 << 20).unwrap();
    assert_eq!(
        world.holes_and_lines(Duration::from_millis(500)),
        (0, Vec::new())
    );
    assert_eq!(world.all_holes_and_lines(), (1, Vec::new()));
    write_at(&path, 520 << 20, "line 1 a\n");
    assert_eq!(
        world.all_holes_and_lines(),
        (0, vec!["line 1 a".to_owned()])
    );
    // Beyond all bounds: said, and not read.
    File::create(world.path(1, None))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let now = world.pass_time(Duration::from_secs(60));
    let looked = world.follower.look(&world.watched(), now).unwrap();
    assert!(looked.left_out[&world.path(1, None)].contains("zero bytes"));
}

/// Half a line with a hole behind it, as a truncated file has that its writer goes on with.
#[test]
fn a_look_holds_no_zero_bytes_of_a_hole_behind_half_a_line() {
    let mut world = World::new();
    let path = world.path(0, None);
    fs::write(&path, "line 1 a\nline 2").unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(1_900_000_000).unwrap();
    let (mut said, mut held) = (Vec::new(), 0);
    for _ in 0..3 {
        let now = world.pass_time(Duration::from_millis(500));
        let looked = world.follower.look(&world.watched(), now).unwrap();
        for chunk in &looked.chunks {
            if let Content::Piece { body, .. } = &chunk.content {
                held += body.capacity();
                let text = String::from_utf8_lossy(body);
                said.extend(
                    text.lines()
                        .map(|line| line.trim_end_matches('\0').to_owned()),
                );
            }
        }
        world.follower.written(looked.chunks, 0);
    }
    assert_eq!(said, ["line 1 a", "line 2"]);
    assert!(held < 1_000, "{held} bytes are held for two lines");
}
