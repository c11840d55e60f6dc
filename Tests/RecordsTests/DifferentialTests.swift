import Foundation
import Records
import RecordsOracle
import SwiftProtobuf
import Testing

/// Our codec against swift-protobuf, in both directions.
@Suite("Codec against swift-protobuf")
struct DifferentialTests {
    @Test(
        "records of the oracle decode to the same values and encode to the same bytes",
        arguments: [(0, 11), (20, 12), (60, 13), (95, 14)] as [(Int, UInt64)]
    )
    func bothDirections(absent: Int, seed: UInt64) throws {
        print("seed \(seed)")
        var random = SeededRandom(seed: seed)
        for _ in 0..<1_000 {
            let oracle = Oracle.random(&random, absent: absent)
            let bytes: [UInt8] = try oracle.serializedBytes()
            let record = try RequestRecord(bytes)
            let isSame1 = record == RequestRecord(expectedFrom: oracle)
            try #require(isSame1)
            let isSame2 = record.encoded() == bytes
            try #require(isSame2)
        }
    }

    @Test("every single field survives alone, both absent and present")
    func singleFields() throws {
        var random = SeededRandom(seed: 5)
        for field in RecordField.allCases {
            for _ in 0..<200 {
                let whole = Oracle.random(&random, absent: 0)
                let bytes: [UInt8] = try whole.serializedBytes()
                let alone = try Self.fields(of: bytes).filter { $0.number == field.rawValue }
                let kept = alone.flatMap(\.bytes)
                let oracle = try Oracle(serializedBytes: kept)
                let record = try RequestRecord(kept)
                let isSame3 = record == RequestRecord(expectedFrom: oracle)
                try #require(isSame3, "\(field)")
                let isSame4 = record.encoded() == kept
                try #require(isSame4, "\(field)")
            }
        }
        #expect(try RequestRecord([]) == RequestRecord())
        #expect(RequestRecord().encoded().isEmpty)
    }

    @Test(
        "fields in any order, repeated, unknown, of another type, or in groups read the same",
        arguments: [21, 22, 23] as [UInt64]
    )
    func soup(seed: UInt64) throws {
        print("seed \(seed)")
        var random = SeededRandom(seed: seed)
        for _ in 0..<3_000 {
            let soup = FieldSoup(Int.random(in: 0...60, using: &random), &random)
            let bytes = soup.bytes
            let oracle = try Oracle(serializedBytes: bytes)
            let record = try RequestRecord(bytes)
            let expected = RequestRecord(expectedFrom: oracle)
            let isSame5 = record == expected
            try #require(isSame5)
            // What we write again means the same to the oracle.
            let again = try Oracle(serializedBytes: record.encoded())
            let isSame6 = RequestRecord(expectedFrom: again) == expected
            try #require(isSame6)
        }
    }

    @Test("mutated and random bytes are accepted or refused alike, and never trap")
    func mutations() throws {
        let seed: UInt64 = 31
        print("seed \(seed)")
        var random = SeededRandom(seed: seed)
        var accepted = 0
        var refused = 0
        for round in 0..<20_000 {
            var bytes: [UInt8]
            if round % 10 == 0 {
                bytes = random.bytes(Int.random(in: 0...40, using: &random))
            } else {
                bytes = FieldSoup(Int.random(in: 1...8, using: &random), &random).bytes
                for _ in 0..<Int.random(in: 1...3, using: &random) { Self.mutate(&bytes, &random) }
            }
            switch try Self.compare(bytes) {
            case true?: accepted += 1
            case false?: refused += 1
            case nil: break
            }
        }
        #expect(accepted > 1_000)
        #expect(refused > 1_000)
    }

    @Test("every prefix of a record is accepted or refused alike")
    func prefixes() throws {
        var random = SeededRandom(seed: 41)
        for _ in 0..<5 {
            let bytes: [UInt8] = try Oracle.random(&random, absent: 10).serializedBytes()
            for count in 0...bytes.count {
                _ = try Self.compare(Array(bytes.prefix(count)))
            }
        }
    }

    @Test("groups nest as deep as protobuf lets them", arguments: [1, 50, 90, 120, 5_000])
    func groups(depth: Int) throws {
        // Field 100, wire types 3 and 4.
        var bytes: [UInt8] = []
        for _ in 0..<depth { bytes += [0xA3, 0x06] }
        for _ in 0..<depth { bytes += [0xA4, 0x06] }
        _ = try Self.compare(bytes)
        #expect((try? RequestRecord(bytes)) != nil || depth > 100)
    }

    /// True when both accept and agree, false when both refuse, nil where semantics differ.
    private static func compare(_ bytes: [UInt8]) throws -> Bool? {
        let view = Result { () throws(RecordError) in try RecordView.decode(bytes.span.raw) }
        let ours = Result { () throws(RecordError) in try RequestRecord(bytes) }
        try #require((try? view.get()) == nil ? (try? ours.get()) == nil : (try? ours.get()) != nil)
        if case .failure(.unknownSchemaVersion) = ours { return nil }
        do {
            let oracle = try Oracle(serializedBytes: bytes)
            let record = try ours.get()
            let isSame7 = record == RequestRecord(expectedFrom: oracle)
            try #require(isSame7)
            return true
        } catch BinaryDecodingError.invalidUTF8 {
            return nil  // we do not check text
        } catch is BinaryDecodingError {
            try #require((try? ours.get()) == nil, "oracle refuses \(Hexadecimal.text(bytes))")
            return false
        } catch let error as RecordError {
            Issue.record("oracle accepts \(Hexadecimal.text(bytes)): \(error)")
            return nil
        }
    }

    /// Flips, drops, inserts or doubles bytes.
    private static func mutate(_ bytes: inout [UInt8], _ random: inout SeededRandom) {
        guard !bytes.isEmpty else { return }
        let place = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<5, using: &random) {
        case 0: bytes[place] ^= 1 << UInt8.random(in: 0...7, using: &random)
        case 1: bytes[place] = [0, 0x7F, 0x80, 0xFF].randomElement(using: &random) ?? 0
        case 2: bytes.removeSubrange(place...)
        case 3: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
        default: bytes.remove(at: place)
        }
    }

    /// The fields of a message without groups.
    private static func fields(of bytes: [UInt8]) throws -> [(number: UInt32, bytes: [UInt8])] {
        var found: [(number: UInt32, bytes: [UInt8])] = []
        let span = bytes.span
        var reader = WireReader(span)
        while !reader.isAtEnd {
            let start = reader.position
            let tag = try reader.tag()
            try reader.skip(tag)
            found.append((tag >> 3, Array(bytes[start..<reader.position])))
        }
        return found
    }
}
