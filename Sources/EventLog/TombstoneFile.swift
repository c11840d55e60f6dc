internal import FileIO
internal import Records

/// The file that says what was deleted from a log: one line of text per deletion, only appended to.
///
/// `1 <log id> <from> <to> <earliest event time or -> <latest or -> <deleted at> <CRC32C>`: times
/// in µs since the epoch, and the checksum in 8 hexadecimal digits over the line before its last
/// space.
enum TombstoneFile {
    /// Appends lines and syncs the file and its directory.
    static func append(
        _ tombstones: [Tombstone],
        to path: String,
        fileSystem: any FileSystem
    ) throws(FileIOError) {
        var text = ""
        for tombstone in tombstones {
            let line = body(of: tombstone)
            text += line + " " + hexadecimal(Checksum.crc32c(Array(line.utf8).span.raw)) + "\n"
        }
        let file = try fileSystem.open(path, .openOrCreate)
        defer { file.close() }
        // A line that a crash has cut short is ended, so that it stays one bad line.
        let size = try file.size()
        if size > 0, try file.read(at: size - 1, count: 1) != [UInt8(ascii: "\n")] {
            text = "\n" + text
        }
        try file.write(Array(text.utf8), at: size)
        try file.sync()
        try fileSystem.syncDirectory(parentDirectory(of: path))
    }

    /// The valid lines of a file; none when it is not there.
    static func read(_ path: String, fileSystem: any FileSystem) throws(FileIOError) -> [Tombstone]
    {
        guard try fileSystem.exists(path) else { return [] }
        let text = String(decoding: try fileSystem.readFile(path), as: UTF8.self)
        var result: [Tombstone] = []
        for line in text.split(separator: "\n") {
            if let tombstone = parse(line), !result.contains(tombstone) {
                result.append(tombstone)
            }
        }
        return result
    }

    /// A line without its checksum.
    private static func body(of tombstone: Tombstone) -> String {
        let earliest = tombstone.eventTimeMin.map { String($0) } ?? "-"
        let latest = tombstone.eventTimeMax.map { String($0) } ?? "-"
        let range = "\(tombstone.offsets.lowerBound) \(tombstone.offsets.upperBound)"
        return "1 \(tombstone.log) \(range) \(earliest) \(latest) \(tombstone.deletedAt)"
    }

    /// A line's contents; nil when it is not valid.
    private static func parse(_ line: Substring) -> Tombstone? {
        let fields = line.split(separator: " ")
        guard fields.count == 8, fields[0] == "1", let log = LogID(String(fields[1])),
            let from = UInt64(fields[2]), let to = UInt64(fields[3]), from <= to,
            let deletedAt = Int64(fields[6])
        else { return nil }
        let text = fields[0..<7].joined(separator: " ")
        guard fields[7] == hexadecimal(Checksum.crc32c(Array(text.utf8).span.raw)) else {
            return nil
        }
        return Tombstone(
            log: log,
            offsets: Offset(from)..<Offset(to),
            eventTimeMin: Int64(fields[4]),
            eventTimeMax: Int64(fields[5]),
            deletedAt: deletedAt
        )
    }
}
