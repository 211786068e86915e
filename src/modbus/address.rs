//! The served address space, compiled from the plant once: which point, or zero, stands at each address, how an image
//! shows there, and what a write there means. Pure.

use std::sync::Arc;

use crate::plant::{Codec, NoteKind, Offline, Plant, RegisterFace, RegisterType, Table, Words};
use crate::point::{Doubt, Fault, Image, Kind, PointId, PointState, Priority, Reading, Value};
use crate::request::{Action, Write};
use crate::time::Now;

use super::kept::Kept;
use super::pdu::Exception;

/// What stands at one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// Nothing: exception 02.
    Nothing,
    /// Unused in a block that exists: reads 0.
    Zero,
    /// This note beside a value.
    Note { note: u32 },
    /// This word of this face.
    Face { face: u32, word: u8 },
    /// This word of this face, which is a text.
    Text { face: u32, word: u8 },
}

/// A face, with what its point says looked up.
#[derive(Debug)]
struct Face {
    point: PointId,
    kind: Kind,
    width: usize,
    codec: Codec,
    writable: bool,
    offline: Offline,
    /// What is shown while there is no value.
    not_available: Words,
    /// The point's value for "none", and its registers where they have one that is no sentinel.
    absent: Option<(Value, Option<Words>)>,
}

/// What one unit shows: all four tables, or so many addresses of each from one on.
#[derive(Debug, Clone)]
pub(super) struct AddressSpace {
    map: Arc<Map>,
    first: usize,
    count: usize,
}

/// All four tables.
#[derive(Debug)]
struct Map {
    faces: Vec<Face>,
    kept: Kept,
    notes: Vec<(PointId, NoteKind)>,
    coils: Vec<Cell>,
    discretes: Vec<Cell>,
    inputs: Vec<Cell>,
    holdings: Vec<Cell>,
}

impl AddressSpace {
    /// Compile what the plant shows. A face of a point that the plant does not have is left out.
    pub(super) fn new(plant: &Plant) -> Self {
        let mut space = Map {
            faces: Vec::with_capacity(plant.modbus.faces.len()),
            kept: Kept::new(plant.modbus.faces.len(), Codec::plain(RegisterType::U16).not_available()),
            notes: plant.modbus.notes.iter().map(|note| (note.point, note.kind)).collect(),
            coils: Vec::new(),
            discretes: Vec::new(),
            inputs: Vec::new(),
            holdings: Vec::new(),
        };
        for (table, first, last) in &plant.modbus.zero_filled {
            for address in *first..=*last {
                space.put(*table, usize::from(address), Cell::Zero);
            }
        }
        for (number, (served, face)) in
            (0u32..).zip(plant.modbus.faces.iter().filter_map(|served| Some((served, Face::new(served, plant)?))))
        {
            for (word, address) in (0u8..).zip(usize::from(served.address)..).take(face.width) {
                let cell = match face.kind {
                    Kind::Text => Cell::Text { face: number, word },
                    _ => Cell::Face { face: number, word },
                };
                space.put(served.table, address, cell);
            }
            space.faces.push(face);
        }
        for (number, note) in (0u32..).zip(&plant.modbus.notes) {
            space.put(note.table, usize::from(note.address), Cell::Note { note: number });
        }
        Self { map: Arc::new(space), first: 0, count: 1 << 16 }
    }

    /// The same, seen through a window: its first address is 0, and beyond its last there is nothing.
    pub(super) fn window(&self, first: u16, count: u16) -> Self {
        Self { map: Arc::clone(&self.map), first: usize::from(first), count: usize::from(count) }
    }

    /// The cells of a request; `Address` when one of them is nothing.
    fn span(&self, table: Table, address: u16, count: u16) -> Result<&[Cell], Exception> {
        let cells = match table {
            Table::Coil => &self.map.coils,
            Table::Discrete => &self.map.discretes,
            Table::Input => &self.map.inputs,
            Table::Holding => &self.map.holdings,
        };
        let (start, count) = (usize::from(address), usize::from(count));
        if start + count > self.count {
            return Err(Exception::Address);
        }
        let start = self.first + start;
        let cells = cells.get(start..start + count).ok_or(Exception::Address)?;
        if cells.contains(&Cell::Nothing) { Err(Exception::Address) } else { Ok(cells) }
    }

    fn face(&self, number: u32) -> Result<&Face, Exception> {
        usize::try_from(number).ok().and_then(|number| self.map.faces.get(number)).ok_or(Exception::Failure)
    }

    /// Append registers as one image shows them, big-endian. Half of a wide value is shown as that half.
    pub(super) fn registers(
        &self,
        image: &Image,
        table: Table,
        address: u16,
        count: u16,
        out: &mut Vec<u8>,
    ) -> Result<(), Exception> {
        let mut rest = self.span(table, address, count)?;
        // Zero where nothing else is said.
        let start = out.len();
        out.resize(start + 2 * rest.len(), 0);
        let (mut target, _) = out.get_mut(start..).unwrap_or_default().as_chunks_mut::<2>();
        let mut kept = self.map.kept.open();
        while let Some(cell) = rest.first() {
            let taken = match *cell {
                Cell::Nothing => return Err(Exception::Address),
                Cell::Zero => 1,
                Cell::Note { note } => {
                    let note = usize::try_from(note).ok().and_then(|note| self.map.notes.get(note));
                    let (point, kind) = note.ok_or(Exception::Failure)?;
                    let state = image.get(*point).ok_or(Exception::Failure)?;
                    if let Some(target) = target.first_mut() {
                        *target = noted(state, *kind, image.now).to_be_bytes();
                    }
                    1
                }
                Cell::Text { face, word } => {
                    let word = self.face(face)?.text_word(image, usize::from(word))?;
                    if let Some(target) = target.first_mut() {
                        *target = word.to_be_bytes();
                    }
                    1
                }
                Cell::Face { face, word } => {
                    let (place, face) = (face as usize, self.face(face)?);
                    let words = kept.words(image, face.point, place, || face.words(image))?;
                    let words = words.as_slice().get(usize::from(word)..).unwrap_or_default();
                    for (target, word) in target.iter_mut().zip(words) {
                        *target = word.to_be_bytes();
                    }
                    words.len().max(1)
                }
            };
            rest = rest.get(taken..).unwrap_or_default();
            target = target.get_mut(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Append bits as one image shows them, packed from the lowest bit.
    pub(super) fn bits(
        &self,
        image: &Image,
        table: Table,
        address: u16,
        count: u16,
        out: &mut Vec<u8>,
    ) -> Result<(), Exception> {
        for eight in self.span(table, address, count)?.chunks(8) {
            let mut byte = 0;
            for (place, cell) in eight.iter().enumerate() {
                if let Cell::Face { face, .. } = *cell
                    && self.face(face)?.bit(image)?
                {
                    byte |= 1 << place;
                }
            }
            out.push(byte);
        }
        Ok(())
    }

    /// What writing these registers means: every value they touch must be writable and covered whole.
    pub(super) fn write_registers(
        &self,
        address: u16,
        words: &[u8],
        priority: Priority,
    ) -> Result<Vec<Write>, Exception> {
        let (words, _) = words.as_chunks::<2>();
        let count = u16::try_from(words.len()).map_err(|_| Exception::Value)?;
        let mut cells = self.span(Table::Holding, address, count)?;
        let mut words = words;
        let mut writes = Vec::new();
        // An address that cannot be written is reported before a value that cannot.
        let mut refused = None;
        while let Some(cell) = cells.first() {
            let Cell::Face { face, word: 0 } = *cell else { return Err(Exception::Address) };
            let face = self.face(face)?;
            let Some((raw, words_after)) = words.split_at_checked(face.width).filter(|_| face.writable) else {
                return Err(Exception::Address);
            };
            match face.value(raw) {
                Ok(value) => writes.push(Write { point: face.point, action: Action::Set(value), priority }),
                Err(exception) => refused = Some(exception),
            }
            words = words_after;
            cells = cells.get(face.width..).unwrap_or_default();
        }
        refused.map_or(Ok(writes), Err)
    }

    /// What writing these coils, packed from the lowest bit, means.
    pub(super) fn write_coils(
        &self,
        address: u16,
        count: u16,
        bits: &[u8],
        priority: Priority,
    ) -> Result<Vec<Write>, Exception> {
        let cells = self.span(Table::Coil, address, count)?;
        let mut writes = Vec::with_capacity(cells.len());
        let mut refused = None;
        for (eight, byte) in cells.chunks(8).zip(bits) {
            for (place, cell) in eight.iter().enumerate() {
                let Cell::Face { face, .. } = *cell else { return Err(Exception::Address) };
                let face = self.face(face)?;
                if !face.writable {
                    return Err(Exception::Address);
                }
                match Value::from_f64(face.kind, f64::from(byte >> place & 1)) {
                    Some(value) => writes.push(Write { point: face.point, action: Action::Set(value), priority }),
                    None => refused = Some(Exception::Value),
                }
            }
        }
        refused.map_or(Ok(writes), Err)
    }
}

impl Map {
    fn put(&mut self, table: Table, address: usize, cell: Cell) {
        let cells = match table {
            Table::Coil => &mut self.coils,
            Table::Discrete => &mut self.discretes,
            Table::Input => &mut self.inputs,
            Table::Holding => &mut self.holdings,
        };
        if cells.len() <= address {
            cells.resize(address + 1, Cell::Nothing);
        }
        if let Some(place) = cells.get_mut(address) {
            *place = cell;
        }
    }
}

/// What a note says of a point.
fn noted(state: &PointState, kind: NoteKind, now: Now) -> u16 {
    match kind {
        NoteKind::Age => state.held.map_or(u16::MAX, |at| {
            u16::try_from(now.mono.since(at.mono).as_secs()).unwrap_or(u16::MAX).min(u16::MAX - 1)
        }),
        NoteKind::Quality => match state.reading() {
            Reading::Good(_) => 0,
            Reading::Uncertain(_, Doubt::Restored) => 1,
            Reading::Uncertain(_, Doubt::Stale) => 2,
            Reading::Uncertain(_, Doubt::Estimated) => 3,
            Reading::Uncertain(_, Doubt::Flagged) => 4,
            Reading::Uncertain(_, Doubt::OutOfService) => 5,
            Reading::Bad(Fault::NeverRead) => 16,
            Reading::Bad(Fault::NoCommunication) => 17,
            Reading::Bad(Fault::Refused(_)) => 18,
            Reading::Bad(Fault::Absent) => 19,
            Reading::Bad(Fault::Missing) => 20,
            Reading::Bad(Fault::NotFinite) => 21,
            Reading::Bad(Fault::OutOfRange) => 22,
            Reading::Bad(Fault::Malformed) => 23,
            Reading::Bad(Fault::Offline) => 24,
        },
    }
}

impl Face {
    fn new(served: &RegisterFace, plant: &Plant) -> Option<Self> {
        let point = plant.point(served.point)?;
        let absent = point.absent.and_then(|number| Value::from_f64(point.kind, number));
        Some(Self {
            point: served.point,
            kind: point.kind,
            width: usize::from(served.width()),
            codec: served.codec.clone(),
            writable: served.writable && matches!(served.table, Table::Coil | Table::Holding),
            offline: served.offline,
            not_available: served.codec.not_available(),
            absent: absent.map(|value| (value, served.codec.encode(value).ok())),
        })
    }

    /// The value to be shown, by the face's policy while the point is bad.
    fn shown(&self, image: &Image) -> Result<Option<Value>, Exception> {
        let state = image.get(self.point).ok_or(Exception::Failure)?;
        match (state.reading().value(), self.offline) {
            (Some(value), _) => Ok(Some(value)),
            (None, Offline::Hold) => Ok(state.last),
            (None, Offline::Sentinel) => Ok(None),
            (None, Offline::Exception) => Err(match state.reading() {
                Reading::Bad(Fault::NoCommunication | Fault::Offline) => Exception::Target,
                Reading::Bad(Fault::NeverRead) => Exception::Path,
                _ => Exception::Failure,
            }),
        }
    }

    /// Its registers. A value that the type cannot hold is shown as "not available", never as another number.
    fn words(&self, image: &Image) -> Result<Words, Exception> {
        Ok(self.shown(image)?.and_then(|value| self.codec.encode(value).ok()).unwrap_or(self.not_available))
    }

    /// One register of its text; 0 while there is none.
    fn text_word(&self, image: &Image, word: usize) -> Result<u16, Exception> {
        Ok(match self.shown(image)? {
            Some(Value::Text(text)) => self.codec.text_word(&text, word),
            _ => 0,
        })
    }

    /// Its bit. A bit has no "not available": it is 0.
    fn bit(&self, image: &Image) -> Result<bool, Exception> {
        Ok(self.shown(image)?.is_some_and(Value::as_bool))
    }

    /// The value that registers, all of it, mean.
    fn value(&self, raw: &[[u8; 2]]) -> Result<Value, Exception> {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(raw) {
            *word = u16::from_be_bytes(*bytes);
        }
        let words = words.get(..raw.len()).ok_or(Exception::Failure)?;
        if let Some((absent, Some(registers))) = &self.absent
            && registers.as_slice() == words
        {
            return Ok(*absent);
        }
        match (self.codec.decode(words, self.kind), &self.absent) {
            (Ok(value), _) => Ok(value),
            (Err(Fault::Absent), Some((absent, _))) => Ok(*absent),
            (Err(_), _) => Err(Exception::Value),
        }
    }
}
