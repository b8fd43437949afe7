// Writes events.d.ts from the JSON Schemas: `node generate.mjs <folder of schemas> <file to write>`.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { compile } from 'json-schema-to-typescript'

const [folder, file] = process.argv.slice(2)
const BANNER = `// Generated from the JSON Schemas by \`make contracts\`; do not edit.
//
// What a reader may meet: amounts are decimal strings, or numbers from other writers; words may be new ones; fields
// that are not listed may be there, and are to be ignored.
`

/** The parts of all schemas in one place, where a part that several events share is one type. */
const shared = {}
const byType = {}
for (const name of readdirSync(folder).filter(name => name.endsWith('.json')).sort()) {
  const { $schema, $id, $defs = {}, ...event } = JSON.parse(readFileSync(`${folder}/${name}`, 'utf8'))
  for (const [title, part] of Object.entries({ ...$defs, [event.title]: event })) {
    if (title in shared && !isDeepStrictEqual(shared[title], part)) {
      throw new Error(`${name}: another ${title} than the one before; give it a name of its own`)
    }
    shared[title] = part
  }
  byType[$id.split(':').at(-1)] = { $ref: `#/$defs/${event.title}` }
}

const index = {
  title: 'EventsByType',
  description: 'Every event by its `ce_type`.',
  type: 'object',
  properties: byType,
  required: Object.keys(byType),
  $defs: shared
}
const types = await compile(index, 'EventsByType', {
  additionalProperties: false,
  bannerComment: BANNER,
  style: { singleQuote: true, printWidth: 120 },
  // An array of at most 5,000 lines is an array, not a tuple of every length there may be.
  ignoreMinAndMaxItems: true
})
writeFileSync(file, `${types}
/** The \`ce_type\` of an event. */
export type EventType = keyof EventsByType;

/** The body of any event. */
export type AnyEvent = EventsByType[EventType];
`)
