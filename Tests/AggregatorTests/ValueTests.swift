import Aggregator
import EventLog
import Foundation
import Records
import Rollups
import Testing

@Suite("Partitions, dimension values and message headers")
struct ValueTests {
    @Test("civil dates agree with Foundation's calendar", arguments: [5])
    func civil(seed: UInt64) throws {
        var random = SplitMix(seed: seed)
        var calendar = Calendar(identifier: .iso8601)
        calendar.timeZone = try #require(TimeZone(identifier: "UTC"))
        for _ in 0..<2_000 {
            let days = Int64(random.below(200_000)) - 50_000
            let date = CivilDate(daysSinceEpoch: days)
            #expect(date.daysSinceEpoch == days)
            let other = calendar.dateComponents(
                [.year, .month, .day],
                from: Date(timeIntervalSince1970: Double(days) * 86_400)
            )
            #expect(date.year == Int64(other.year ?? 0))
            #expect(date.month == Int64(other.month ?? 0) && date.day == Int64(other.day ?? 0))
        }
    }

    @Test("a bucket lies in its partition, whose neighbours begin where it ends", arguments: [6])
    func partitions(seed: UInt64) {
        var random = SplitMix(seed: seed)
        for _ in 0..<2_000 {
            let time = Int64(random.below(4_000_000_000)) * 1_000_000 - 1_000_000_000_000_000
            for tier in [Tier.minute, .quarterHour, .day] {
                let bucket = tier.bucket(of: time)
                let partition = Partition(tier, holding: bucket)
                #expect(partition.lowerBound <= bucket && bucket < partition.upperBound)
                #expect(partition == Partition(tier, holding: partition.lowerBound))
                let next = Partition(tier, holding: partition.upperBound)
                #expect(next.lowerBound == partition.upperBound)
                #expect(next.suffix != partition.suffix)
            }
        }
    }

    @Test("partitions are named by day, month and year")
    func names() {
        let bucket: Int64 = 1_431_857_100_000_000  // 2015-05-17
        #expect(Partition(.minute, holding: bucket).suffix == "p20150517")
        #expect(Partition(.quarterHour, holding: bucket).suffix == "p201505")
        #expect(Partition(.day, holding: bucket).suffix == "p2015")
    }

    @Test("a dimension value is stored as it is, repaired, or cut with a hash of the whole")
    func values() {
        func value(_ bytes: [UInt8]) -> DimensionValue { DimensionValue(.route, bytes[...]) }
        #expect(value(Array("/a/日本".utf8)).text == "/a/日本")
        #expect(value([0x61, 0x00, 0x62]).text == "a\u{FFFD}b")
        #expect(value([0x61, 0xFF]).text == "a\u{FFFD}")
        let edge = [UInt8](repeating: 0x61, count: DimensionValue.bytesMax)
        #expect(value(edge).bytes == edge)
        let long = value(edge + [0x61])
        let other = value(edge + [0x62])
        #expect(long != other)
        #expect(long.bytes.count <= DimensionValue.bytesMax)
        // No character is cut in two.
        let wide = value(Array(String(repeating: "日", count: 600).utf8))
        #expect(wide.bytes.count <= DimensionValue.bytesMax)
        #expect(!wide.text.contains("\u{FFFD}"))
    }

    @Test("values that Swift's strings hold equal are different ones, in byte order")
    func order() {
        let composed = DimensionValue(.org, Array("caf\u{E9}".utf8)[...])
        let decomposed = DimensionValue(.org, Array("cafe\u{301}".utf8)[...])
        #expect(composed != decomposed)
        #expect(decomposed < composed)
        #expect(DimensionValue(.org, [0x7A]) < DimensionValue(.api, [0x61]))
    }

    @Test("headers are read when they are well formed, else they are absent")
    func headers() {
        func put(_ name: MessageHeader, _ text: String) -> MessageHeaders {
            var headers = MessageHeaders()
            headers.put(name, Array(text.utf8).span)
            return headers
        }
        #expect(put(.offset, "0").offset == 0)
        #expect(put(.offset, "18446744073709551615").offset == .max)
        for text in [
            "", "18446744073709551616", "-1", "+1", " 1", "1 ", "0x1", "000000000000000000001",
        ] {
            #expect(put(.offset, text).offset == nil, "\(text)")
        }
        let log = "0d9a3e7c-4f4b-4c57-9b2e-2f8d8f0a1b2c"
        #expect(put(.log, log).log?.description == log)
        #expect(put(.log, log.uppercased()).log?.description == log)
        for text in [
            "", String(log.dropLast()), log + "0", log.replacing("-", with: "0"),
            "g" + log.dropFirst(),
        ] {
            #expect(put(.log, text).log == nil, "\(text)")
        }
        #expect(put(.marker, "skip").marker == .skip && put(.marker, "end").marker == .end)
        #expect(put(.marker, "x").marker == .unknown)
        #expect(put(.reason, "too_large").reason == .tooLarge && put(.reason, "x").reason == nil)
    }
}
