// Prints what the official parser finds wrong with an AsyncAPI document: `node validate.mjs <file>`.
import { readFileSync } from 'node:fs'
import { Parser } from '@asyncapi/parser'

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], 'utf8'))
const found = diagnostics.map(({ severity, code, message, path }) => ({ severity, code, message, path: path.join('/') }))
const messages = document ? document.allMessages().all().map(message => message.name()) : []
console.log(JSON.stringify({ parsed: document !== undefined, found, messages }))
