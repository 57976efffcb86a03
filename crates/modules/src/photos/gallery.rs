//! Walking through a user's images, and which of them are wanted.

use jiff::tz::{Offset, TimeZone};
use mana_registry::prelude::*;
use mana_registry::{Cursor, Media, MediaFile, MediaQuery};

use super::Marks;

/// How many files are read at once.
const PART: u32 = 500;
/// How many images are looked at to compute over them.
const MOST: usize = 10_000;
/// How many files are looked at to fill a page; then it ends early and says where to go on.
const LOOKED_AT: usize = 20_000;
/// The mean radius of the earth, kilometres.
const EARTH_KM: f64 = 6_371.0;

/// Which photos.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wanted {
    /// Taken at this time or later, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Timestamp>,
    /// Taken before this time, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Timestamp>,
    /// With a place, or without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    has_location: Option<bool>,
    /// Around here: degrees north, with `lon`.
    #[schemars(range(min = -90, max = 90))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lat: Option<f64>,
    /// Degrees east.
    #[schemars(range(min = -180, max = 180))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lon: Option<f64>,
    /// How far around, in km; 1 if left out.
    #[schemars(range(min = 0.01, max = 20_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    radius_km: Option<f64>,
    /// Part of the camera's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    camera: Option<Line<100>>,
    /// Only favourites, or only others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    favorite: Option<bool>,
    /// With this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<Tag>,
    /// From this app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app: Option<Line<64>>,
}

impl Wanted {
    /// Refuses what makes no sense; `place` is the field that it stands in, with a dot.
    pub(super) fn check(&self, place: &str) -> Result<()> {
        let mut faults = Vec::new();
        if self.lat.is_some() != self.lon.is_some() {
            faults.push(FieldError::new(format!("{place}lat"), "a place needs `lat` and `lon`"));
        }
        if self.radius_km.is_some() && self.lat.is_none() {
            faults.push(FieldError::new(format!("{place}radiusKm"), "a radius needs `lat` and `lon`"));
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            faults.push(FieldError::new(format!("{place}to"), "must lie after `from`"));
        }
        if faults.is_empty() { Ok(()) } else { Err(ToolError::Invalid(faults)) }
    }

    /// Whether a file is wanted.
    pub(super) fn fits(&self, file: &MediaFile, marks: &Marks) -> bool {
        let time = file.time();
        let near = |(lat, lon)| {
            file.place().is_some_and(|place| distance_km((lat, lon), place) <= self.radius_km.unwrap_or(1.0))
        };
        let camera = || file.shot.as_ref().and_then(|shot| shot.camera.as_deref()).unwrap_or_default().to_lowercase();
        file.is_image()
            && self.from.is_none_or(|from| time >= from)
            && self.to.is_none_or(|to| time < to)
            && self.has_location.is_none_or(|has| file.place().is_some() == has)
            && self.lat.zip(self.lon).is_none_or(near)
            && self.camera.as_ref().is_none_or(|part| camera().contains(&part.to_lowercase()))
            && self.favorite.is_none_or(|favorite| marks.is_favorite(file.id) == favorite)
            && self.tag.as_ref().is_none_or(|tag| marks.has_tag(file.id, tag))
    }
}

/// All images.
pub(super) fn images() -> MediaQuery {
    MediaQuery { mime_type: Some("image/*".into()), limit: PART, ..MediaQuery::default() }
}

/// What the service can narrow for these wishes by itself.
pub(super) fn query(wishes: &[Wanted]) -> MediaQuery {
    let mut query = images();
    for wanted in wishes {
        query.from = query.from.max(wanted.from);
        query.to = match (query.to, wanted.to.map(|to| to.plus_millis(-1))) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        query.has_location = query.has_location.or(wanted.has_location).or(wanted.lat.map(|_| true));
        if let Some(app) = &wanted.app {
            query.apps = vec![app.to_string()];
        }
    }
    query
}

/// A page of images that fit, after this place, and where the next begins. Stable while images come and go.
pub(super) async fn scan(
    media: &Media,
    mut query: MediaQuery,
    after: Option<Cursor>,
    limit: u32,
    fits: impl Fn(&MediaFile) -> bool,
) -> Result<(Vec<MediaFile>, Option<String>)> {
    if let Some(cursor) = after {
        let until = Timestamp::from_millis(cursor.key);
        query.to = Some(query.to.map_or(until, |to| to.min(until)));
    }
    let place = |file: &MediaFile| Cursor { key: file.time().as_millis(), id: file.id.uuid() };
    let mut found: Vec<MediaFile> = Vec::new();
    let mut seen = 0;
    loop {
        let part = media.list(query.clone()).await?;
        query.offset += part.items.len() as u64;
        seen += part.items.len();
        let last = part.items.last().map(place);
        for file in part.items {
            let is_after =
                after.is_none_or(|cursor| (file.time().as_millis(), file.id.uuid()) < (cursor.key, cursor.id));
            if !is_after || !fits(&file) {
                continue;
            }
            if found.len() == limit as usize {
                let next = found.last().map(|last| place(last).to_string());
                return Ok((found, next));
            }
            found.push(file);
        }
        if !part.has_more {
            return Ok((found, None));
        }
        if seen >= LOOKED_AT {
            return Ok((found, last.map(|last| last.to_string())));
        }
    }
}

/// All images that the query finds, the latest first, at most 10,000.
pub(super) async fn all(media: &Media, mut query: MediaQuery) -> Result<Vec<MediaFile>> {
    let mut files = Vec::new();
    loop {
        let part = media.list(query.clone()).await?;
        query.offset += part.items.len() as u64;
        files.extend(part.items.into_iter().filter(MediaFile::is_image));
        if !part.has_more || files.len() >= MOST {
            files.truncate(MOST);
            return Ok(files);
        }
    }
}

/// The day on the camera's clock; on the user's where nothing was noted.
pub(super) fn local_date(file: &MediaFile, zone: &TimeZone) -> Date {
    let noted = file.taken_at.map(|taken| {
        let minutes = file.shot.as_ref().and_then(|shot| shot.offset_minutes).unwrap_or(0);
        let offset = Offset::from_seconds(i32::from(minutes) * 60).unwrap_or(Offset::UTC);
        taken.date_in(&TimeZone::fixed(offset))
    });
    noted.unwrap_or_else(|| file.created_at.date_in(zone))
}

/// The cell of about a kilometre that a place lies in.
pub(super) fn place_name((latitude, longitude): (f64, f64)) -> String {
    // `-0.00` is no other place than `0.00`.
    let rounded = |degrees: f64| (degrees * 100.0).round() / 100.0 + 0.0;
    format!("{:.2}, {:.2}", rounded(latitude), rounded(longitude))
}

/// The mean of places within one cell.
#[expect(clippy::cast_precision_loss, reason = "there are at most 10,000")]
pub(super) fn middle(files: &[&MediaFile]) -> Option<(f64, f64)> {
    let places: Vec<(f64, f64)> = files.iter().filter_map(|file| file.place()).collect();
    let mean = |sum: f64| (sum / places.len() as f64 * 1e5).round() / 1e5;
    let sums = places.iter().fold((0.0, 0.0), |sum, place| (sum.0 + place.0, sum.1 + place.1));
    (!places.is_empty()).then(|| (mean(sums.0), mean(sums.1)))
}

/// The way along the surface between two places (haversine).
fn distance_km(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (north, east) = ((b.0 - a.0).to_radians() / 2.0, (b.1 - a.1).to_radians() / 2.0);
    let h = north.sin().powi(2) + a.0.to_radians().cos() * b.0.to_radians().cos() * east.sin().powi(2);
    2.0 * EARTH_KM * h.clamp(0.0, 1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_an_atlas() {
        let (berlin, hamburg, auckland, madrid) = ((52.52, 13.405), (53.551, 9.994), (-36.85, 174.76), (40.42, -3.70));
        assert!((distance_km(berlin, hamburg) - 255.0).abs() < 2.0);
        assert!((distance_km(auckland, madrid) - 19_590.0).abs() < 60.0);
        assert!(distance_km((0.0, 179.999), (0.0, -179.999)) < 0.3, "across the date line");
        assert!(distance_km(berlin, berlin) < 1e-9);
    }

    #[test]
    fn a_place_is_a_cell() {
        assert_eq!(place_name((52.5163, 13.3777)), "52.52, 13.38");
        assert_eq!(place_name((-0.001, 0.001)), "0.00, 0.00");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let wanted: Wanted =
            serde_json::from_str(r#"{"lat": 1.0, "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}"#)
                .expect("reads");
        let Err(ToolError::Invalid(faults)) = wanted.check("rule.") else { panic!("it is refused") };
        let names: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(names, ["rule.lat", "rule.to"]);
    }
}
