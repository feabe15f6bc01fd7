// What the AppView's own handler makes of how it is told of a match. That the server sends just this is asserted in
// `crates/server/src/notify/tests.rs`, from the same file.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { NotifiedAppView } from '../lib/notified.js'

const sent = JSON.parse(readFileSync(new URL('../../../vectors/notify/appview.json', import.meta.url)))

const tell = (appview, change = {}) =>
  fetch(appview.url + sent.path, { method: sent.method, headers: sent.headers, body: sent.body, ...change })

describe('sendNotification', () => {
  let appview
  before(async () => {
    appview = await NotifiedAppView.start({ password: sent.password })
  })
  after(() => appview?.end())

  it('is taken, and kept for the account that is told', async () => {
    const answer = await tell(appview)
    assert.equal(answer.status, 200, await answer.clone().text())
    assert.deepEqual(await answer.json(), {})
    assert.equal(appview.kept.length, 1)
    const [{ actorDid, namespace, payload }] = appview.kept
    assert.equal(namespace, 'app.bsky.contact.defs#notification')
    const { from, to, $type } = JSON.parse(Buffer.from(payload))
    assert.deepEqual({ from, to, $type }, { from: sent.from, to: sent.to, $type: namespace })
    // As in 0.0.280: it is filed under the account that the match is with, not under the one that is told.
    assert.equal(actorDid, sent.from)
  })

  it('is kept again when it is told again: the idempotency key means nothing to it', async () => {
    const before = appview.kept.length
    await tell(appview)
    await tell(appview)
    assert.equal(appview.kept.length, before + 2)
  })

  it('is refused for good with what is no DID, and for now with another password or without contacts', async () => {
    const before = appview.kept.length
    const noDid = await tell(appview, { body: JSON.stringify({ from: 'account', to: sent.to }) })
    assert.equal(noDid.status, 400, await noDid.text())
    const authorization = `Basic ${Buffer.from('admin:another').toString('base64')}`
    const stranger = await tell(appview, { headers: { ...sent.headers, authorization } })
    assert.equal(stranger.status, 401)
    assert.equal((await stranger.json()).error, 'AuthenticationRequired')
    assert.equal(appview.kept.length, before)
    const without = await NotifiedAppView.start({ password: sent.password, contacts: false })
    try {
      assert.equal((await tell(without)).status, 501)
    } finally {
      await without.end()
    }
  })

  it('never takes a password with a colon, which the configuration therefore refuses', async () => {
    const password = 'with:colon'
    const other = await NotifiedAppView.start({ password })
    try {
      const authorization = `Basic ${Buffer.from(`admin:${password}`).toString('base64')}`
      assert.equal((await tell(other, { headers: { ...sent.headers, authorization } })).status, 401)
    } finally {
      await other.end()
    }
  })
})
