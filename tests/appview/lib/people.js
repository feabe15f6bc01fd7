// Accounts with numbers for fiction, and what they do through the AppView's client.

import assert from 'node:assert/strict'
import { callRolodexClient } from './appview.js'

// 555-0100 to 555-0199 are for fiction in every area of the North American plan; these areas are in the United States.
const AREAS = [212, 312, 415, 646, 718, 206, 305, 512, 617, 702]
const LAST = AREAS.length * 100

let next = 0

/** A phone number that nobody has, another one at each call. */
export function number() {
  assert.ok(next < LAST, 'no numbers for fiction are left in this file')
  const [area, line] = [AREAS[Math.floor(next / 100)], 100 + (next % 100)]
  next += 1
  return `+1${area}5550${line}`
}

let accounts = 0

/** An account that nobody has, in the form of did:plc. */
export function did() {
  accounts += 1
  const letters = accounts.toString().split('').map((digit) => 'abcdefghij'[digit]).join('')
  return `did:plc:${letters.padStart(24, 'z')}`
}

export class Person {
  constructor(server, client, { actor = did(), phone = number() } = {}) {
    Object.assign(this, { server, client, actor, phone })
  }

  /** The same person through another client. */
  via(client) {
    return new Person(this.server, client, this)
  }

  start(phone = this.phone) {
    return this.client.startPhoneVerification({ actor: this.actor, phone })
  }

  guess(verificationCode, phone = this.phone) {
    return this.client.verifyPhone({ actor: this.actor, phone, verificationCode })
  }

  /** A token for one import. */
  async token() {
    await callRolodexClient(this.start())
    const { token } = await callRolodexClient(this.guess(this.server.code(this.phone)))
    assert.ok(token)
    return token
  }

  import(token, contacts) {
    return this.client.importContacts({ actor: this.actor, token, contacts })
  }

  /** Verifies and imports; gives pairs of position and account. */
  async brings(contacts, token) {
    const { matches } = await callRolodexClient(this.import(token ?? (await this.token()), contacts))
    return matches.map(({ inputIndex, subject }) => [inputIndex, subject])
  }

  async status() {
    const { status } = await callRolodexClient(this.client.getSyncStatus({ actor: this.actor }))
    return status
  }

  page(limit, cursor = '') {
    return this.client.getMatches({ actor: this.actor, limit, cursor })
  }

  /** The first hundred matches. */
  async matches() {
    const { subjects } = await callRolodexClient(this.page(100))
    return subjects
  }

  /** All that can be seen of an account. */
  async state() {
    const status = await this.status()
    return { status: status?.toJson(), matches: await this.matches() }
  }

  /** Runs `what` and asserts that nothing about this account is different afterwards. */
  async unchanged(what) {
    const before = await this.state()
    const outcome = await what()
    assert.deepEqual(await this.state(), before, 'a refused call changed something')
    return outcome
  }
}
