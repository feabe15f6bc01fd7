// The built binary as a child process: made by `acquaint init` in a fresh folder, on a free port of loopback.

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

const START_MS = 30_000
const STOP_MS = 30_000

const binary = process.env.ACQUAINT_BIN && path.resolve(process.env.ACQUAINT_BIN)
if (!binary) {
  throw new Error('ACQUAINT_BIN must be the path of the built binary, such as target/debug/acquaint')
}

// Whatever way this process ends, no server and no folder is left behind.
const children = new Set()
const folders = new Set()
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

/** Variables of whoever runs the tests must not configure the servers. */
function environment(extra) {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('ACQUAINT_'))
  return { ...Object.fromEntries(inherited), ACQUAINT_LISTEN: '127.0.0.1:0', ...extra }
}

export class Server {
  /** A new folder with keys and configuration, and a server that answers there; `prepare` has the folder before it starts. */
  static async start({ suite = 'development', env = {}, prepare } = {}) {
    const folder = mkdtempSync(path.join(tmpdir(), 'acquaint-appview-'))
    folders.add(folder)
    execFileSync(binary, ['init', folder, '--suite', suite], { env: environment(), stdio: 'pipe' })
    prepare?.(folder, binary, environment())
    const server = new Server(folder, env)
    await server.run()
    return server
  }

  constructor(folder, env) {
    this.folder = folder
    this.env = env
    const [, apiKey] = /^api_key = "(\w+)"$/m.exec(readFileSync(path.join(folder, 'acquaint.toml'), 'utf8'))
    this.apiKey = apiKey
    /** Everything that the process has written: standard output and error. */
    this.log = ''
  }

  /** Starts the process, on the first call and after `stop` or `kill`. */
  async run() {
    const child = spawn(binary, ['serve', '--config', path.join(this.folder, 'acquaint.toml')], {
      env: environment(this.env),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    children.add(child)
    this.child = child
    this.ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        children.delete(child)
        resolve({ code, signal })
      })
    })
    let out = ''
    const listening = new Promise((resolve) => {
      child.stdout.setEncoding('utf8').on('data', (text) => {
        this.log += text
        out += text
        const found = /^listening on (http:\/\/\S+)$/m.exec(out)
        if (found) resolve(found[1])
      })
    })
    child.stderr.setEncoding('utf8').on('data', (text) => (this.log += text))
    const failed = this.ended.then(({ code, signal }) => {
      throw new Error(`the server ended at its start (${code ?? signal}):\n${this.log}`)
    })
    failed.catch(() => {})
    this.url = await within(START_MS, 'the server does not start', Promise.race([listening, failed]))
    this.port = Number(new URL(this.url).port)
  }

  /** The newest code that was sent to `phone`. */
  code(phone) {
    const lines = readFileSync(path.join(this.folder, 'outbox.txt'), 'utf8').split('\n')
    const line = lines.findLast((line) => line.startsWith(`${phone} `))
    assert.ok(line, 'no code was sent')
    return line.slice(phone.length + 1)
  }

  /** What the process logs, without the codes that the development outbox prints on purpose. */
  get ownLog() {
    return this.log.split('\n').filter((line) => !line.includes('DEVELOPMENT OUTBOX, NOT SENT')).join('\n')
  }

  /** Asks the process to stop, which it has to do with status 0. */
  async stop() {
    this.child.kill('SIGTERM')
    const { code, signal } = await within(STOP_MS, 'the server does not stop', this.ended)
    assert.equal(code ?? signal, 0, `the server's exit status; its log:\n${this.log}`)
  }

  /** Ends the process as a crash would. */
  async kill() {
    this.child.kill('SIGKILL')
    await this.ended
  }

  /** Stops the process if it runs and deletes the folder. Fails where the log names anybody. */
  async end() {
    try {
      if (children.has(this.child)) await this.stop()
    } finally {
      this.child.kill('SIGKILL')
      rmSync(this.folder, { recursive: true, force: true })
      folders.delete(this.folder)
    }
    assert.doesNotMatch(this.ownLog, /did:|\d{10}/, 'the log names accounts or numbers')
  }
}

/** Fails with `what` when `promise` takes longer than `millis`. */
export async function within(millis, what, promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} within ${millis} ms`)), millis)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Calls `look` until it gives something true. */
export async function until(millis, what, look) {
  const end = Date.now() + millis
  for (;;) {
    const found = await look()
    if (found) return found
    assert.ok(Date.now() < end, `${what} within ${millis} ms`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
