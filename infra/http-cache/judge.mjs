// Holds results of http-cache-tests against what is expected. Part of ../http-cache.sh.
//
//   node judge.mjs TESTS RESULTS EXPECTED
//
// Of the three kinds of tests, those of a cache's *required* behaviour decide: each passes, or stands in EXPECTED with the
// reason. An exception that passes, or is of no test, is red too, so that the list stays true. The other two kinds (what an
// optimal cache does, and how it behaves where both is right) are counted.

import fs from 'fs'
import path from 'path'
import { pathToFileURL } from 'url'

const [folder, resultsFile, expectedFile] = process.argv.slice(2)
const load = async name => (await import(pathToFileURL(path.resolve(folder, 'tests', name)))).default
const suites = await load('index.mjs')
const results = JSON.parse(fs.readFileSync(resultsFile, 'utf8'))
const expected = JSON.parse(fs.readFileSync(expectedFile, 'utf8'))

const tests = suites.flatMap(suite => suite.tests.map(test => ({ suite: suite.name, kind: 'required', ...test })))
  .filter(test => !test.browser_only)
const known = new Map(tests.map(test => [test.id, test]))
const passed = id => results[id] === true
// A test says nothing where one that it builds on has failed.
const says = test => (test.depends_on ?? []).every(passed)
const why = id => results[id] === undefined ? 'no result' : Array.isArray(results[id]) ? results[id].join(': ') : String(results[id])

const wrong = []
const counts = {}
for (const test of tests) {
  const count = counts[test.kind] ??= { passed: 0, failed: 0, silent: 0 }
  const outcome = passed(test.id) ? 'passed' : says(test) ? 'failed' : 'silent'
  count[outcome]++
  const reason = expected[test.id]
  if (test.kind === 'required' && outcome === 'failed' && reason === undefined) {
    wrong.push(`${test.id} (${test.suite}: ${test.name}) failed: ${why(test.id)}`)
  }
  if (reason !== undefined && outcome === 'passed') {
    wrong.push(`${test.id} is expected to fail and passed: take it out of ${expectedFile}`)
  }
}
for (const [id, reason] of Object.entries(expected)) {
  if (!known.has(id)) wrong.push(`${id} is no test of this version: take it out of ${expectedFile}`)
  if (typeof reason !== 'string' || reason.length < 20) wrong.push(`${id} is expected to fail without a reason`)
}

for (const [kind, { passed, failed, silent }] of Object.entries(counts)) {
  console.log(`${kind.padEnd(9)} ${passed} passed, ${failed} failed, ${silent} without a result that says anything`)
}
console.log(`${Object.keys(expected).length} exceptions with a reason`)
if (Object.keys(results).length === 0) wrong.push('there is no result at all')
for (const line of wrong) console.log(`RED ${line}`)
process.exit(wrong.length === 0 ? 0 : 1)
