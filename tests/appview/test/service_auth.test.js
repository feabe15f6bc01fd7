// Clients that speak to the service itself: tokens made by Bluesky's own code, checked against DID documents of a local
// did:plc and did:web, and answers read by Bluesky's own client, which holds them to the lexicons.

import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Agent } from '@atproto/api'
import { KINDS, Network } from '../lib/network.js'
import { did, number } from '../lib/people.js'
import { Server } from '../lib/server.js'

const CONTACT = 'app.bsky.contact.'

/** A client that signs a token for each method that it calls. */
function agent(server, account, change = {}) {
  return new Agent(async (path, init) => {
    const lxm = /^\/xrpc\/([^?]+)/.exec(path)[1]
    const headers = new Headers(init.headers)
    headers.set('authorization', `Bearer ${await account.token(lxm, change)}`)
    return fetch(server.url + path, { ...init, headers })
  })
}

const bare = (server, token, method = 'getSyncStatus') =>
  fetch(`${server.url}/xrpc/${CONTACT}${method}`, { headers: token ? { authorization: `Bearer ${token}` } : {} })

describe('service auth', () => {
  let network, server
  before(async () => {
    network = await Network.start()
    server = await Server.start({ env: network.env })
  })
  after(async () => {
    await server?.end()
    await network?.end()
  })

  for (const [algorithm, kind] of Object.entries(KINDS)) {
    it(`takes a person through all seven methods with ${algorithm}`, async () => {
      const [ada, bob] = [await network.account({ kind }), await network.account({ kind })]
      const [phoneOfAda, phoneOfBob] = [number(), number()]
      const verified = async (who, phone) => {
        const contact = agent(server, who).app.bsky.contact
        await contact.startPhoneVerification({ phone })
        const { data } = await contact.verifyPhone({ phone, code: server.code(phone) })
        return data.token
      }
      const imports = async (who, phone, contacts) => {
        const token = await verified(who, phone)
        const { data } = await agent(server, who).app.bsky.contact.importContacts({ token, contacts })
        return data.matchesAndContactIndexes.map(({ match, contactIndex }) => [match.did, contactIndex])
      }
      assert.deepEqual(await imports(ada, phoneOfAda, [phoneOfBob]), [])
      assert.deepEqual(await imports(bob, phoneOfBob, ['no number', phoneOfAda]), [[ada.did, 1]])
      const { data: page } = await agent(server, ada).app.bsky.contact.getMatches({ limit: 10 })
      assert.deepEqual(page.matches.map((match) => match.did), [bob.did])
      const { data: status } = await agent(server, ada).app.bsky.contact.getSyncStatus()
      assert.equal(status.syncStatus.matchesCount, 1)
      assert.ok(Math.abs(Date.parse(status.syncStatus.syncedAt) - Date.now()) < 60_000)
      await agent(server, ada).app.bsky.contact.dismissMatch({ subject: bob.did })
      const { data: left } = await agent(server, ada).app.bsky.contact.getMatches({})
      assert.deepEqual(left.matches, [])
      await agent(server, ada).app.bsky.contact.removeData({})
      const { data: gone } = await agent(server, ada).app.bsky.contact.getSyncStatus()
      assert.equal(gone.syncStatus, undefined)
    })
  }

  it('takes the tokens of a did:web', async () => {
    const account = await network.account({ did: network.webDid })
    assert.equal((await bare(server, await account.token(`${CONTACT}getSyncStatus`))).status, 200)
    assert.ok(network.asked.includes('/.well-known/did.json'))
  })

  it('takes a token once', async () => {
    const account = await network.account()
    const token = await account.token(`${CONTACT}getSyncStatus`)
    assert.equal((await bare(server, token)).status, 200)
    assert.equal((await bare(server, token)).status, 401)
  })

  it('takes a key that was changed since, and not the older one', async () => {
    const account = await network.account()
    assert.equal((await bare(server, await account.token(`${CONTACT}getSyncStatus`))).status, 200)
    const renewed = await network.account({ did: account.did })
    // A document is fetched again at most every half minute.
    await server.stop()
    await server.run()
    assert.equal((await bare(server, await account.token(`${CONTACT}getSyncStatus`))).status, 401)
    assert.equal((await bare(server, await renewed.token(`${CONTACT}getSyncStatus`))).status, 200)
  })

  it('refuses all others with the same body', async () => {
    const account = await network.account()
    const other = await network.account()
    const lxm = `${CONTACT}getSyncStatus`
    const seconds = Math.floor(Date.now() / 1000)
    const nobody = { did: did(), keypair: account.keypair }
    const tokens = {
      none: undefined,
      'no token': 'x',
      'other audience': await account.token(lxm, { aud: 'did:web:other.example.com' }),
      'other method': await account.token(`${CONTACT}removeData`),
      'no method': await account.token(undefined),
      expired: await account.token(lxm, { iat: seconds - 120, exp: seconds - 60 }),
      'of the future': await account.token(lxm, { iat: seconds + 600, exp: seconds + 660 }),
      'other key': await account.token(lxm, { keypair: other.keypair }),
      'for somebody else': await account.token(lxm, { iss: other.did }),
      'nobody': await account.token(lxm, { iss: nobody.did }),
      'of a labeler': await account.token(lxm, { iss: `${account.did}#atproto_labeler` }),
      'no did': await account.token(lxm, { iss: 'ada' }),
    }
    const bodies = new Set()
    for (const [what, token] of Object.entries(tokens)) {
      const answer = await bare(server, token)
      assert.equal(answer.status, 401, what)
      bodies.add(await answer.text())
    }
    assert.equal(bodies.size, 1, 'a refusal says what was wrong')
    assert.equal(JSON.parse([...bodies][0]).error, 'AuthenticationRequired')
  })

  it('answers each error of the lexicons', async () => {
    const account = await network.account()
    const contact = agent(server, account).app.bsky.contact
    const phone = number()
    const refused = async (name, call) => {
      await assert.rejects(call, (error) => {
        assert.equal(error.error, name)
        assert.ok(error.status === 400 || error.status === 413 || error.status === 429, String(error.status))
        return true
      })
    }
    await refused('InvalidPhone', contact.startPhoneVerification({ phone: 'no number' }))
    await contact.startPhoneVerification({ phone })
    await refused('RateLimitExceeded', contact.startPhoneVerification({ phone }))
    const wrong = server.code(phone) === '000000' ? '000001' : '000000'
    await refused('InvalidCode', contact.verifyPhone({ phone, code: wrong }))
    const { data } = await contact.verifyPhone({ phone, code: server.code(phone) })
    await refused('InvalidToken', contact.importContacts({ token: 'none', contacts: [number()] }))
    await refused('InvalidContacts', contact.importContacts({ token: data.token, contacts: [] }))
    const many = Array.from({ length: 1001 }, () => '+12125550100')
    await refused('TooManyContacts', contact.importContacts({ token: data.token, contacts: many }))
    await refused('InvalidLimit', contact.getMatches({ limit: 101 }))
    await refused('InvalidLimit', contact.getMatches({ limit: 0 }))
    await refused('InvalidCursor', contact.getMatches({ cursor: 'none' }))
    await refused('InvalidDid', contact.dismissMatch({ subject: 'somebody' }))
  })

  it('does not know other methods, and takes each by its own verb', async () => {
    const account = await network.account()
    const unknown = await bare(server, await account.token(`${CONTACT}getEverything`), 'getEverything')
    assert.equal(unknown.status, 501)
    assert.equal((await unknown.json()).error, 'MethodNotImplemented')
    const headers = { authorization: `Bearer ${await account.token(`${CONTACT}getMatches`)}` }
    const posted = await fetch(`${server.url}/xrpc/${CONTACT}getMatches`, { method: 'POST', headers })
    assert.equal(posted.status, 405)
  })
})
