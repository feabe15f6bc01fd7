// Requests without any of the AppView's code: HTTP/1.1 and h2c with prior knowledge, byte by byte.

import assert from 'node:assert/strict'
import http from 'node:http'
import http2 from 'node:http2'
import { REASONS } from './appview.js'
import { within } from './server.js'

const ANSWER_MS = 15_000
const PREFIX = '/rolodex.RolodexService/'

/**
 * Sends one request and gives `{ status, headers, body }`. `body` may be a list of chunks. A header that is given as
 * undefined is left out.
 */
export function send(server, target, { version = '1.1', method = 'POST', headers = {}, body = [] } = {}) {
  const path = target.startsWith('/') ? target : PREFIX + target
  const all = { authorization: `Bearer ${server.apiKey}`, 'content-type': 'application/json', ...headers }
  const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
  const chunks = [body].flat().map((chunk) => Buffer.from(chunk))
  const answer = version === '2' ? overHttp2 : overHttp1
  return within(ANSWER_MS, `no answer from ${path}`, answer(server, path, method, given, chunks))
}

function overHttp1(server, path, method, headers, chunks) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port: server.port, path, method, headers, agent: false })
    request.on('error', reject)
    request.on('response', async (response) => {
      const body = Buffer.concat(await response.toArray())
      resolve({ status: response.statusCode, headers: response.headers, body })
    })
    for (const chunk of chunks) request.write(chunk)
    request.end()
  })
}

async function overHttp2(server, path, method, headers, chunks) {
  const session = http2.connect(server.url)
  try {
    return await new Promise((resolve, reject) => {
      session.on('error', reject)
      const request = session.request({ ':method': method, ':path': path, ...headers })
      let head
      request.on('error', reject)
      request.on('response', (received) => (head = received))
      const parts = []
      request.on('data', (part) => parts.push(part))
      request.on('end', () => resolve({ status: head?.[':status'], headers: head, body: Buffer.concat(parts) }))
      for (const chunk of chunks) request.write(chunk)
      request.end()
    })
  } finally {
    session.destroy()
  }
}

/** Begins a request of a hundred bytes, sends three of them, and is gone. */
export async function leave(server, method, { version }) {
  const headers = { authorization: `Bearer ${server.apiKey}`, 'content-type': 'application/proto' }
  headers['content-length'] = '100'
  const gone = new Promise((resolve) => {
    if (version === '2') {
      const session = http2.connect(server.url)
      const request = session.request({ ':method': 'POST', ':path': PREFIX + method, ...headers })
      request.on('error', () => {})
      session.on('close', resolve)
      request.write('abc', () => session.destroy())
    } else {
      const options = { host: '127.0.0.1', port: server.port, path: PREFIX + method, method: 'POST', headers }
      const request = http.request({ ...options, agent: false })
      request.on('error', () => {})
      request.on('close', resolve)
      request.write('abc', () => request.destroy())
    }
  })
  await within(ANSWER_MS, 'the connection does not close', gone)
}

/** Sends a message as JSON, or whatever text is given. */
export function sendJson(server, method, message, options = {}) {
  const body = typeof message === 'string' || Buffer.isBuffer(message) ? message : JSON.stringify(message)
  return send(server, method, { ...options, body })
}

/** Sends bytes as a binary message. */
export function sendProto(server, method, body, { headers, ...options } = {}) {
  return send(server, method, { ...options, body, headers: { 'content-type': 'application/proto', ...headers } })
}

function varint(number) {
  const bytes = []
  let left = BigInt.asUintN(64, BigInt(number))
  do {
    bytes.push(Number(left & 0x7fn) | (left > 0x7fn ? 0x80 : 0))
    left >>= 7n
  } while (left)
  return Buffer.from(bytes)
}

/** A protobuf message of `[field, value]`: numbers as varint, texts and bytes behind their length. */
export function proto(...fields) {
  return Buffer.concat(
    fields.flatMap(([field, value]) => {
      if (typeof value === 'number') return [varint(field << 3), varint(value)]
      const bytes = Buffer.from(value)
      return [varint((field << 3) | 2), varint(bytes.length), bytes]
    }),
  )
}

/** Asserts that an answer is JSON of status 200 and gives the message. */
export function message({ status, headers, body }) {
  assert.equal(status, 200, body.toString())
  assert.equal(headers['content-type'], 'application/json')
  return JSON.parse(body)
}

/** Asserts that an answer is the Connect protocol's error with this reason, in exactly the contract's form. */
export function refusedAs({ status, headers, body }, reason, code = 'invalid_argument') {
  const text = body.toString()
  assert.ok(status >= 400 && (status < 500 || reason === 'INTERNAL_ERROR'), `status ${status}: ${text}`)
  assert.equal(headers['content-type'], 'application/json')
  assert.equal(headers['content-encoding'], undefined)
  const error = JSON.parse(text)
  assert.deepEqual(Object.keys(error).toSorted(), ['code', 'details', 'message'])
  assert.equal(typeof error.message, 'string')
  assert.equal(error.details.length, 1)
  const [detail] = error.details
  assert.deepEqual(Object.keys(detail).toSorted(), ['debug', 'type', 'value'])
  assert.equal(detail.type, 'google.rpc.ErrorInfo')
  assert.match(detail.value, /^[A-Za-z0-9+/]+$/)
  const info = Buffer.from(detail.value, 'base64')
  assert.equal(info.subarray(2, 2 + info[1]).toString(), detail.debug.reason)
  assert.ok(detail.debug.reason in REASONS, text)
  if (reason) assert.equal(detail.debug.reason, reason, text)
  if (code) assert.equal(error.code, code)
  return error
}
