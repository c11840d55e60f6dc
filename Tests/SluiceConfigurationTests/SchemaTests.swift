import Foundation
import SluiceConfiguration
import Testing

@Suite("Schema")
struct SchemaTests {
    private static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    @Test("the JSON schema in schemas/ is the loader's own")
    func jsonSchema() throws {
        try compare("schemas/configuration.schema.json", with: SchemaDocument.jsonSchema())
        let parsed = try JSONSerialization.jsonObject(
            with: Data(SchemaDocument.jsonSchema().utf8)
        )
        #expect((parsed as? [String: Any])?["properties"] != nil)
    }

    @Test("the tables of docs/configuration.md are the loader's own")
    func reference() throws {
        let path = Self.root.appendingPathComponent("docs/configuration.md")
        var text = try String(contentsOf: path, encoding: .utf8)
        for (name, table) in [
            ("variables", SchemaDocument.reservedVariables()), ("keys", SchemaDocument.reference()),
            ("unsupported", SchemaDocument.unsupportedReference()),
            ("properties", SchemaDocument.refusedProperties()),
        ] {
            let start = try #require(text.range(of: "<!-- \(name): "))
            let begin = try #require(text[start.upperBound...].range(of: "-->\n"))
            let end = try #require(text[begin.upperBound...].range(of: "<!-- end -->"))
            text.replaceSubrange(begin.upperBound..<end.lowerBound, with: table)
        }
        try compare("docs/configuration.md", with: text)
    }

    /// Compares a file of the checkout with what it should say; `UPDATE_GOLDENS=1` rewrites it.
    private func compare(_ path: String, with expected: String) throws {
        let url = Self.root.appendingPathComponent(path)
        if ProcessInfo.processInfo.environment["UPDATE_GOLDENS"] != nil {
            try Data(expected.utf8).write(to: url)
        }
        let found = (try? String(contentsOf: url, encoding: .utf8)) ?? ""
        #expect(
            found == expected,
            "\(path) is out of date: UPDATE_GOLDENS=1 swift test rewrites it"
        )
    }
}
