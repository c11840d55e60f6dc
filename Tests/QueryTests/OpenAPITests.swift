import Foundation
import Query
import Testing

/// The document in `schemas/` against what the code does.
@Suite("OpenAPI")
struct OpenAPITests {
    let document: String

    init() throws {
        document = try String(
            contentsOf: Fixture.root.appendingPathComponent("schemas/openapi.yaml"),
            encoding: .utf8
        )
    }

    @Test("the compiled document is schemas/openapi.yaml; else run scripts/generate-openapi.sh")
    func isCurrent() { #expect(OpenAPI.document == document) }

    @Test("every name that the code knows stands in the document")
    func names() {
        for parameter in UsageRequest.knownParameters {
            #expect(document.contains("- name: \(parameter)\n"), "\(parameter)")
        }
        let words = Set(
            document.split { !$0.isLetter && !$0.isNumber && $0 != "_" }.map(String.init)
        )
        let known =
            Metric.allCases.map(\.rawValue) + Granularity.allCases.map(\.rawValue)
            + Filter.Operator.allCases.map(\.rawValue)
            + UsageRequest.Format.allCases.map(\.rawValue)
        for name in known { #expect(words.contains(name), "\(name)") }
        for kind in Problem.Kind.allCases where ![404, 405].contains(kind.status) {
            #expect(document.contains("\"\(kind.status)\":"), "\(kind)")
        }
    }
}
