//! The client library against the real routes, over a socket; and what only a socket shows.

use std::time::Duration;

use bytes::Bytes;
use mana_media::client::{AllParams, Auth, Client, ClientError, ListParams, NewFile, TransformParams};
use mana_media::{DoorOptions, Hash, Status, Variant};
use mana_testkit::each_db;
use mana_types::{MediaId, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::doors_world::{Doors, FORM, KEY, file, form};
use crate::{eventually, photo};

async fn client(doors: &Doors, auth: Auth) -> Client {
    Client::new(&format!("http://{}", doors.listen().await), auth).expect("a client")
}

#[tokio::test]
async fn a_program_of_anybody_does_with_it_what_the_contract_says() {
    each_db(|test| async move {
        let doors = Doors::new(test).await;
        let mine = client(&doors, Auth::Bearer(Secret::new(doors.token(doors.world.anna)))).await;
        let his = client(&doors, Auth::Bearer(Secret::new(doors.token(doors.world.ben)))).await;
        let bytes = photo(1, 1_000, 700);
        let new = NewFile { name: "Gr\u{f6}\u{df}e \"1\".jpg".into(), app: Some("me".into()), ..NewFile::default() };
        let record = mine.upload(&new, bytes.clone()).await.expect("uploaded");
        assert_eq!(
            (record.status, &*record.mime_type, record.size),
            (Status::Processing, "image/jpeg", bytes.len() as u64)
        );
        assert_eq!((record.app.as_deref(), record.hash.as_str()), (Some("me"), &*Hash::of(&bytes).to_string()));

        let media = doors.world.media.clone();
        let working = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(150)).await;
            media.run_pending_jobs_once().await.expect("worked")
        });
        let ready = mine.wait_for_ready(record.id).await.expect("ready");
        working.await.expect("ends");
        assert_eq!(
            (ready.status, ready.metadata.width, ready.metadata.has_alpha),
            (Status::Ready, Some(1_000), Some(false))
        );
        assert!(ready.urls.thumbnail.is_some() && ready.urls.medium.is_some() && ready.urls.large.is_none());
        assert_eq!(ready.original_name, "Gr\u{f6}\u{df}e %221%22.jpg", "quotes are escaped as browsers escape them");

        assert_eq!(mine.get(record.id).await.expect("an answer"), Some(ready.clone()));
        assert_eq!(mine.get_by_hash(&Hash::of(&bytes)).await.expect("an answer"), Some(ready.clone()));
        assert_eq!(mine.get_by_hash(&Hash::of(b"other")).await.expect("an answer"), None);
        assert_eq!(his.get(record.id).await.expect("an answer"), None);
        assert_eq!(his.get_by_hash(&Hash::of(&bytes)).await.expect("an answer"), None);
        assert_eq!(mine.get_buffer(record.id).await.expect("bytes"), bytes);
        let small = mine.clone().with_max_bytes(100).get_buffer(record.id).await;
        assert!(matches!(small, Err(ClientError::TooLarge { limit: 100 })), "{small:?}");

        let http = reqwest::Client::builder().tls_certs_only([]).build().expect("a client");
        for (url, mime) in [
            (mine.file_url(record.id), "image/jpeg"),
            (mine.variant_url(record.id, Variant::Thumb), "image/webp"),
            (
                mine.transform_url(record.id, &TransformParams { w: Some(40), ..TransformParams::default() }),
                "image/webp",
            ),
        ] {
            let answer = http.get(&url).send().await.expect("answers");
            assert_eq!(
                (answer.status().as_u16(), &answer.headers()["content-type"]),
                (200, &mime.parse().expect("a value")),
                "{url}"
            );
        }

        for number in 0..4 {
            doors.world.test.clock.advance_millis(1_000);
            let new =
                NewFile { name: format!("{number}.txt"), mime_type: Some("text/plain".into()), ..NewFile::default() };
            mine.upload(&new, Bytes::from(format!("text {number}"))).await.expect("uploaded");
        }
        let mut seen = Vec::new();
        let mut params = ListParams { limit: Some(2), ..ListParams::default() };
        loop {
            let page = mine.list(&params).await.expect("a page");
            seen.extend(page.items.into_iter().map(|record| record.original_name));
            params.cursor = page.next_cursor;
            if params.cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["3.txt", "2.txt", "1.txt", "0.txt", "Gr\u{f6}\u{df}e %221%22.jpg"]);
        let texts = AllParams {
            mime_type: Some("text/*".into()),
            limit: Some(3),
            sort_by: Some("size".into()),
            ascending: true,
            ..AllParams::default()
        };
        let texts = mine.list_all(&texts).await.expect("a list");
        assert_eq!((texts.items.len(), texts.total, texts.has_more), (3, 4, true));
        assert_eq!(mine.stats().await.expect("figures").total_count, 5);
        assert_eq!(his.stats().await.expect("figures").total_count, 0);

        let refused = his.delete(record.id, None).await.expect_err("not his");
        assert!(refused.is_not_found() && !refused.is_transient(), "{refused}");
        mine.delete(record.id, None).await.expect("deleted");
        assert_eq!(mine.get(record.id).await.expect("an answer"), None);
        assert!(mine.wait_for_ready(record.id).await.expect_err("gone").is_not_found());
        let empty = mine.upload(&new, Bytes::new()).await;
        assert!(
            matches!(empty, Err(ClientError::Refused { status: 400, ref code, .. }) if code == "FILE_EMPTY"),
            "{empty:?}"
        );
        let broken = mine.upload(&new, Bytes::from_static(b"\x89PNG\r\n\x1a\nbroken")).await.expect("uploaded");
        doors.work().await;
        assert!(matches!(mine.wait_for_ready(broken.id).await, Err(ClientError::Failed(_))));
        assert!(mine.verify_ownership(doors.world.anna, &[broken.id], &[]).await.is_err(), "needs a service key");
    })
    .await;
}

#[tokio::test]
async fn a_program_of_this_installation_acts_for_a_user() {
    each_db(|test| async move {
        let doors = Doors::new(test).await;
        let service = client(&doors, Auth::ServiceKey(Secret::new(KEY))).await;
        let for_anna = service.for_user(doors.world.anna);
        let mut ids: Vec<MediaId> = Vec::new();
        for number in 0..3 {
            let new =
                NewFile { name: "p.jpg".into(), app: Some("me".into()), skip_processing: true, ..NewFile::default() };
            ids.push(for_anna.upload(&new, photo(number, 40, 30)).await.expect("uploaded").id);
        }
        let anna = doors.world.anna;
        let unknown: MediaId = "7d444840-9dc0-41d1-b245-5ffdce74fad2".parse().expect("an id");
        let none: Vec<MediaId> = Vec::new();
        assert_eq!(service.verify_ownership(anna, &ids, &["me", "wardrobe", "comic"]).await.expect("asked"), none);
        assert_eq!(service.verify_ownership(anna, &[unknown, ids[0]], &["me"]).await.expect("asked"), [unknown]);
        assert_eq!(service.verify_ownership(anna, &ids, &["comic"]).await.expect("asked"), ids);
        assert_eq!(service.verify_ownership(doors.world.ben, &ids, &[]).await.expect("asked"), ids);
        let nowhere = Client::new("http://127.0.0.1:1", Auth::None).expect("a client");
        assert_eq!(nowhere.verify_ownership(anna, &[], &["me"]).await.expect("nothing is asked"), none);
        let refused = nowhere.stats().await.expect_err("nobody there");
        assert!(matches!(refused, ClientError::Unreachable(_)) && refused.is_transient());

        let png = service.reference(ids[0], anna).await.expect("an image");
        assert_eq!(&png[1..4], b"PNG");
        assert!(service.reference(ids[0], doors.world.ben).await.expect_err("not his").is_not_found());
        let granted = for_anna.upload_url(Some("storage"), Some("later.txt")).await.expect("granted");
        assert!(granted.url.starts_with("/api/v1/media/upload-urls/") && granted.max_bytes == 100_000_000);
        assert_eq!(for_anna.list(&ListParams::default()).await.expect("a list").items.len(), 3);
        assert_eq!(
            service.for_user(doors.world.ben).list(&ListParams::default()).await.expect("a list").items.len(),
            0
        );
        for_anna.delete(ids[0], Some("me")).await.expect("deleted");
        assert_eq!(for_anna.get(ids[0]).await.expect("an answer"), None);
    })
    .await;
}

/// Reads an answer to its end or to the end of the line.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    drop(read.expect("an answer within its time")); // the line may end hard after the answer
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_line_that_breaks_or_crawls_leaves_nothing_behind() {
    each_db(|test| async move {
        let options = DoorOptions { idle: Duration::from_millis(300), longest: Duration::from_secs(2), ..DoorOptions::default() };
        let doors = Doors::with(test, options, |options| options.max_bytes = 5_000_000).await;
        let (address, anna) = (doors.listen().await, doors.anna());
        let body = form(&[file("p.jpg", &vec![7; 3_000_000])]);
        let head = |length: usize| {
            format!(
                "POST /api/v1/media/upload HTTP/1.1\r\nHost: m\r\nAuthorization: {anna}\r\nContent-Type: {FORM}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            )
        };
        let spool = doors.world.work.with_file_name("store").join("tmp");
        let spooled = || std::fs::read_dir(&spool).map_or(0, Iterator::count);

        // Gone half-way.
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(head(body.len()).as_bytes()).await.expect("sent");
        stream.write_all(&body[..2_000_000]).await.expect("sent");
        assert!(eventually(|| spooled() == 1).await, "the upload is under way");
        drop(stream);
        assert!(eventually(|| spooled() == 0).await, "nothing is left of it");

        // Standing still.
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(head(body.len()).as_bytes()).await.expect("sent");
        stream.write_all(&body[..1_000_000]).await.expect("sent");
        let said = answer(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 408") && said.contains("UPLOAD_TOO_SLOW"), "{said}");

        // Crawling, a byte now and then, for longer than a body may take.
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(head(body.len()).as_bytes()).await.expect("sent");
        let (mut reads, mut writes) = stream.split();
        let crawl = async {
            for byte in body.chunks(1).take(300) {
                if writes.write_all(byte).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let mut first = [0; 12];
        let said = tokio::select! {
            () = crawl => panic!("crawled to the end"),
            read = reads.read_exact(&mut first) => read.map(|_| String::from_utf8_lossy(&first).into_owned()),
        };
        assert_eq!(said.expect("an answer"), "HTTP/1.1 408");
        assert!(eventually(|| spooled() == 0).await, "nothing is left of it");

        // More than is taken: the sender, who writes it all before he reads, still comes to read why.
        let large = form(&[file("l.jpg", &vec![7; 8_000_000])]);
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(head(large.len()).as_bytes()).await.expect("sent");
        stream.write_all(&large).await.expect("the rest is read");
        let said = answer(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 413") && said.contains("\"limit\":5000000"), "{said}");
        assert_eq!(doors.world.count("SELECT COUNT(*) FROM media").await, 0);

        // In pieces that cut everything in two, and without a length.
        let small = form(&[file("whole.txt", b"\r\n--------------------------\r\nnearly a boundary\r\n")]);
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let chunked = head(0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
        stream.write_all(chunked.as_bytes()).await.expect("sent");
        for piece in small.chunks(7) {
            let framed = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            stream.write_all(&framed).await.expect("sent");
        }
        stream.write_all(b"0\r\n\r\n").await.expect("sent");
        let said = answer(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 201") && said.contains("whole.txt") && said.contains("\"size\":49"), "{said}");

        // A reader who leaves half-way harms nobody.
        let id = doors.uploaded(&anna, "big.bin", &vec![9; 4_000_000]).await;
        for range in ["", "Range: bytes=1000000-\r\n"] {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            let request = format!("GET /api/v1/media/{id}/file HTTP/1.1\r\nHost: m\r\n{range}Connection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut some = vec![0; 10_000];
            stream.read_exact(&mut some).await.expect("the beginning");
            drop(stream);
        }
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let request = format!("GET /api/v1/media/{id}/file HTTP/1.1\r\nHost: m\r\nRange: bytes=3999990-\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let said = answer(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 206") && said.to_lowercase().contains("content-range: bytes 3999990-3999999/4000000"), "{said}");
    })
    .await;
}
