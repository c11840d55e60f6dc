import Crypto
import Records

/// The id of the log that a part of a file becomes.
///
/// It follows from what is imported, for whom, and from nothing else: the same part of the same
/// content gets the same id, and its lines the same offsets, in every process and on every machine.
enum LogIdentity {
    /// Part of every id; changed when the mapping of lines to offsets changes.
    private static let domain = "sluice import 1"

    /// The id for the lines between two points of a content.
    static func log(
        org: String,
        api: String,
        format: ImportFormat,
        parent: ContentDigest,
        end: ContentDigest
    ) -> LogID {
        let digest = digest([org, api, format.rawValue, parent.hexadecimal, end.hexadecimal])
        var high: UInt64 = 0
        var low: UInt64 = 0
        for index in 0..<8 {
            high = high << 8 | UInt64(digest.bytes[index])
            low = low << 8 | UInt64(digest.bytes[index + 8])
        }
        // Version 8 of RFC 9562: made of a hash, by rules of its own.
        return LogID(
            high: high & 0xFFFF_FFFF_FFFF_0FFF | 0x8000,
            low: low & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
        )
    }

    /// A digest over texts, each preceded by its length so that no two lists are alike.
    static func digest(_ texts: [String]) -> ContentDigest {
        var hash = SHA256()
        for text in [domain] + texts {
            let bytes = Array(text.utf8)
            hash.update(data: Array("\(bytes.count):".utf8))
            hash.update(data: bytes)
        }
        return ContentDigest(hash)
    }
}
