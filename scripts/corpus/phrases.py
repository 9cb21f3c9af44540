"""How people decide: talk and summary sentences for each course of a decision, in any situation.

D decides and O is the other speaker; {no} is dropped for the reason {why}, {yes} is final. The
courses: `told` (O gives D the reason), `noticed` (D sees it alone), `kept` (O proposes {no}, D
stays with {yes}), `back` (D takes O's {no} and then returns to {yes}), `open_end` (nothing is
decided before {later}). SOLO is for one who decides, JOINT for two who agree.
"""

SOLO_TALK = {
    "told": """
D: [I think|I guess] I'll {no}[| then].
O: [Before you decide, you should know that {why}.|Just so you know, {why}.|I should tell you something first: {why}.]
D: [Oh, I didn't know that|Really? Nobody told me that]. Then I'd [rather|prefer to] {yes}.
--
D: [My plan is|I was planning|My first idea is] to {no}.
O: Are you sure? [The trouble is that|I'm afraid that] {why}.
D: Hmm, [that's a good point|you're right]. [I'd better|I'll] {yes} instead.
O: [A wise choice|That makes sense to me].
--
D: [I'd like|I want] to {no}[, if possible|, if you agree].
O: [You can|That is possible], but {why}.
D: [That changes everything|That won't work for me, then]. [What if I {yes}?|Then I'd like to {yes}.]
O: [No problem at all|That would be better].
D: [Good|Perfect], [let's do that|that's settled], then.
--
O: So, [what would you like to do|what have you decided|what is your choice]?
D: [To|I want to] {no}[, I think|].
O: [I understand|I see], but {why}.
D: [I had no idea|I wasn't aware of that]. [In that case|If that's so], I will {yes}.
--
D: [Can I simply|Would it be all right to] {no}?
O: [To be honest|Frankly], [I wouldn't|I'd think twice]. {why}.
D: [And what else could I do|What would you do in my place]?
O: [You could {yes}.|Why don't you {yes}?]
D: [Fine|All right], [I'll do that|that's what I'll do].
""",
    "noticed": """
D: I'd like to {no}. [No, wait|Actually, no|Hold on]. {why}.
O: [So what will it be|What do you want to do, then]?
D: [I'd better|I'll] {yes}.
--
O: [Have you made up your mind|Do you know what you want]?
D: [Yesterday I wanted|I came here|My idea was] to {no}, but {why}.
O: [I see|That's a pity]. And now?
D: Now [I'd rather|I'm going to] {yes}.
--
D: [Let me|I think I'll] {no}.
O: [Certainly|Okay][|, if you like|, no problem].
D: [Sorry|Excuse me], [I just remembered something|I forgot something]. {why}. [Forget that|Never mind], I will {yes}.
O: [No problem|That's all right], [I understand|as you like].
--
D: [All week|For days] I have been telling everybody that I would {no}.
O: [But|And] now you [sound less sure|have doubts]?
D: [Yes|Exactly]. {why}. So I [want|have decided] to {yes}.
""",
    "kept": """
D: [I'd like|I've decided|I want] to {yes}.
O: [Have you thought of something else?|There is another way.] You could {no}.
D: [I have thought about it|I know], but {why}. [I'll stay with my plan|My answer stays the same].
--
O: [Many people|Most people here] {no}. Would that [suit you|be something for you]?
D: [Not really|I'm afraid not]. {why}.
O: [What would you prefer|What do you have in mind], then?
D: [I'd prefer to|I'd rather] {yes}.
--
D: [I'm here to|I want to] {yes}, [and I'm sure about it|if that's all right].
O: [Of course|Sure]. Though you [might also|may also] {no}.
D: [A friend of mine tried that|I've heard about that]. {why}, so no.
O: [Very well|Okay], [as you like|we'll do it your way].
--
O: [May I make a suggestion|Here's an idea]: why don't you {no}?
D: [Because|Simply because] {why}. I will {yes}[|, as I said].
""",
    "back": """
D: [I'd like|I want] to {yes}.
O: [You could also|Or you could] {no}.
D: [Oh, nice|That sounds good], [I'll do that instead|let me do that].
O: [Good|Okay]. [Although|The only thing is that] {why}.
D: [Oh no|Hmm]. [Then|In that case] [my first idea was better|it's back to my first idea]. I'll {yes} after all.
--
D: [My plan was|I came here] to {yes}, but [now I think|maybe] I'll {no}.
O: [Really|Are you certain]? {why}.
D: [Right, I forgot about that|That's true]. [Forget what I said|Never mind]. I'll {yes}, as planned.
--
D: [I'll|I think I'll] {yes}.
O: [Wouldn't you rather|Don't you want to] {no}?
D: [Well, why not|You've convinced me], [let's say that|I'll take your advice].
O: [Great|Fine], I'll make a note.
D: [Wait, I was too quick|Hmm, no]. {why}. [I do want to|I really will] {yes}.
""",
    "open_end": """
D: [I can't make up my mind|I'm not sure what to do]. [Either I|I could] {yes}, or I {no}.
O: [There is one thing to know: {why}.|Keep in mind that {why}.]
D: [Still|Even so], I need [more time|to think it over]. [Can I tell you on {later}?|I'll let you know on {later}.]
O: [Of course|Sure], {later} is [fine|early enough].
--
O: So, will you {yes}, or would you rather {no}?
D: [That's hard to say|Both sound good to me].
O: [Remember that|You should know that] {why}.
D: [I know|True]. [Let me sleep on it|I have to ask my family]. You'll have my answer on {later}.
""",
}

JOINT_TALK = {
    "told": """
D: [Let's|I suggest we] {no}.
O: [I'd love to|Nice idea], but {why}.
D: [Oh, right|I forgot about that]. What else [can|could] we do?
O: [We could {yes}.|What if we {yes}?]
D: [Deal|Perfect], [let's do that|that's even better].
--
D: I [think|say] we should {no}.
O: [Hmm, I don't know|I'm not so sure]. {why}.
D: [You have a point|You're right]. [Then let's|All right, we'll] {yes}.
O: [Great|I like that much better].
--
O: What do you [have in mind|want to do]?
D: We could {no}. [Everybody does that|That would be fun].
O: [The problem is that {why}.|Haven't you heard? {why}.]
D: [Too bad|What a pity]. [In that case|Then] [I vote that|I'd say] we {yes}.
O: [Good|Fine with me].
""",
    "noticed": """
D: [Let's|We should] {no}. [Oh no, wait|Hmm, no]. {why}.
O: [So what's the new plan|What do we do, then]?
D: [Let's|We'd better] {yes}.
O: [Sounds good|I'm in].
--
D: [I told everyone|I promised the others] that we would {no}.
O: [That's what I thought, too|Yes, so I heard].
D: [Well|The thing is], {why}. [Could we|Can we] {yes} instead?
O: [No problem|Why not], [I don't mind|it's all the same to me].
""",
    "kept": """
D: [I've got it|Here's my idea]: we {yes}.
O: Or we {no}[, what do you think|]?
D: [No|Not again], {why}.
O: [True|Good point]. [Okay|Fine], [let's do it your way|your idea wins].
--
O: [Let's {no}.|Couldn't we {no}?]
D: [I thought about that|I'd like that], but {why}. [I'd rather we|Let's] {yes}.
O: [Agreed|All right, then].
--
D: [Are we still going|Do you still want] to {yes}?
O: [I was wondering|Maybe] we could {no} instead.
D: [Come on|Sorry, no]. {why}.
O: [Okay, okay|You win]. [We'll|Let's] {yes}, just as we said.
""",
    "back": """
D: [Let's|I'd say we] {yes}.
O: [And what if we|Why don't we] {no}?
D: [Ooh, yes|Even better]!
O: [Wait, though|Oh, I just thought of something]. {why}.
D: [What a pity|That won't work, then]. Back to [the first idea|plan one]: we {yes}.
O: [Right|Agreed].
--
O: [Change of plan|I changed my mind]: I want us to {no}, not {yes}.
D: [Okay, if you like|Well, fine]. [Hmm, but|No, hang on]. {why}.
O: [Oh, you're right|I didn't think of that]. [So we {yes} after all|Then we'll {yes}, as planned].
""",
    "open_end": """
D: [Shall we|Do you want to] {yes} or {no}?
O: [I can't decide|Hard to say]. {why}, [but that's not everything|but I still like the idea].
D: [Let's not rush|No hurry]. [We'll decide|Let's talk again] on {later}.
O: [Okay|Good], {later} it is.
--
O: [I'd like to|I'd love to] {yes}.
D: [And I'd like to|And I would rather] {no}.
O: But {why}.
D: [I know, I know|Maybe]. [Let's ask the others|Give me some time], and then we'll choose on {later}.
O: [That's fair|Fine].
""",
}

SOLO_SUMMARY = {
    "told": """
{D} first wants to {no}, but {O} says that {why}, so {D} will {yes}.
After {O} explains that {why}, {D} decides to {yes} instead of the first plan to {no}.
{D} plans to {no}. When {O} mentions that {why}, {D} chooses to {yes}.
{O} advises {D} not to {no} because {why}, and {D} agrees to {yes}.
{D} will {yes}. The first idea, to {no}, is dropped when {O} says that {why}.
{O} lets {D} know that {why}. {D} therefore prefers to {yes} and not to {no}.
As {O} points out that {why}, {D} does not {no} but will {yes}.
""",
    "noticed": """
{D} first wants to {no} but then remembers that {why} and decides to {yes}.
Since {why}, {D} gives up the plan to {no} and will {yes}.
{D} will {yes} and no longer wants to {no} because {why}.
{D} changes the plan: rather than {no}, {D} will {yes}, as {why}.
{D} had planned to {no}, but {why}, so {D} asks to {yes}.
It was {D}'s plan to {no}. As {why}, {D} now prefers to {yes}.
{D} thinks of a reason not to {no}: {why}. {D} is going to {yes}.
""",
    "kept": """
{O} suggests another way, to {no}, but {D} will {yes} because {why}.
{D} decides to {yes} and turns down the idea to {no} because {why}.
{D} does not want to {no}, since {why}, and will {yes}.
{O} asks if {D} would like to {no}. {D} refuses, as {why}, and chooses to {yes}.
{D} is going to {yes}. {O}'s suggestion to {no} fails because {why}.
Although {O} mentions the chance to {no}, {D} prefers to {yes}, as {why}.
{O} proposes to {no}. {D} says that {why} and insists on the plan to {yes}.
""",
    "back": """
{D} nearly agrees to {no}, but {why}, so {D} will {yes} after all.
{O} nearly persuades {D} to {no}. Because {why}, {D} returns to the plan to {yes}.
In the end {D} will {yes} as planned and not {no}, because {why}.
For a moment {D} wants to {no}, but as {why}, {D} decides to {yes} in the end.
{D} is going to {yes}, the first choice. The other idea, to {no}, is given up because {why}.
{D} decides to {no}, learns that {why}, and goes back to the wish to {yes}.
""",
    "open_end": """
{D} cannot choose whether to {yes} or to {no} and will tell {O} on {later}.
{D} has not decided yet whether to {yes} or {no} and will answer on {later}.
{O} has to wait until {later}, when {D} will choose whether to {yes} or to {no}.
{D} needs time until {later} to decide if it is better to {yes} or to {no}.
It stays open whether {D} will {yes} or {no}. {O} will hear about it on {later}.
{D} wants to think until {later} about two ways: to {yes} or to {no}.
""",
}

JOINT_SUMMARY = {
    "told": """
{D} wants to {no}, but {O} says that {why}, so they will {yes}.
{O} reminds {D} that {why}. They give up the plan to {no} and agree to {yes}.
{D} suggests they {no}. Because {O} objects that {why}, they decide to {yes}.
They will {yes}. {D} had another idea, to {no}, but {O} says that {why}.
As {O} tells {D} that {why}, the idea to {no} is dropped, and they will {yes}.
{D} would like to {no}. {O} answers that {why} and suggests they {yes}, which {D} accepts.
""",
    "noticed": """
{D} gives up the plan to {no} because {why}, and {O} agrees to {yes}.
{D} first wants to {no} but remembers that {why}. With {O}'s consent, they will {yes}.
Since {why}, {D} asks {O} to {yes} instead of the plan to {no}.
{D} had wanted to {no}, but {why}. {D} and {O} will {yes} now.
{O} accepts that they {yes}. It was {D}'s plan to {no}, but {why}.
""",
    "kept": """
{O} would like to {no}, but {D} says that {why}, so they will {yes}.
{D} rejects {O}'s idea to {no} because {why}. They agree to {yes}.
{D} wants to {yes}. {O} suggests they {no} but gives in, since {why}.
They will {yes}, as {D} wishes. {O}'s other idea, to {no}, is refused because {why}.
Since {why}, {D} does not want to {no}, and {O} agrees to {yes}.
""",
    "back": """
{O} suggests they {no}, but {why}, so {O} and {D} will {yes} after all.
They nearly choose {O}'s idea to {no}. Because {why}, they return to the plan to {yes}.
{O}'s wish to {no} is dropped because {why}, and they will {yes} in the end.
After a short time with another plan, to {no}, they decide to {yes}, since {why}.
{D} and {O} go back to the plan to {yes}. {O} had wanted to {no}, but {why}.
""",
    "open_end": """
They cannot choose whether to {yes} or to {no} and will decide on {later}.
{D} and {O} have not decided yet whether to {yes} or {no}. They will choose on {later}.
They put off until {later} the choice whether to {yes} or {no}.
On {later}, {D} and {O} will decide whether to {yes} or to {no}.
It stays open whether they {yes} or {no}. They will talk about it on {later}.
""",
}

FAREWELLS = {
    "service": """
D: [Thank you|Thanks] [very much|for your help].
O: [You're welcome|My pleasure]. [Have a nice day|Goodbye].
--
O: [Is there anything else|Anything else I can do for you]?
D: No, that's all. [Goodbye|Thanks].
--
D: [Great|Good]. [That was quick|I'm glad that's settled].
O: Thank you[| very much]. Goodbye<D>.
--
O: [All done|That's everything], then<D>. [See you soon|Take care].
D: [See you|Bye].
""",
    "work": """
D: [Thanks for your time|Thank you for your help]<O>.
O: [Any time|Sure]. [Let me know if anything changes|Talk to you later].
--
O: [Good|Great]. [I'll send you a note about it|I'll put it in the calendar].
D: [Perfect|Thanks].
--
D: [All right|Okay], back to work.
O: [Me too|Yes, same here]. [See you later|See you at lunch].
""",
    "friends": """
D: [See you|Talk to you] [soon|later], then.
O: [Bye|See you]<D>!
--
O: [Great|Perfect], [I'm looking forward to it|I can't wait].
D: [Me too|Same here].
--
D: I have to [go|run] now. [Bye|See you]<O>.
O: [Bye|Take care].
""",
}

SMALL_TALK = {
    "service": """
X: [What weather|Such weather] [today|this week]! {degrees} degrees [in the shade|this morning].
Y: [Yes|I know], and [they say|on the radio they said] it will [rain|get even worse] on {talk_day}.
--
X: [The bus|The tram] was {late} minutes late [today|again].
Y: [I know|Oh yes], [it happens to everybody|it was the same last week].
--
D: [Is it always so busy here?|What a crowd today!]
O: [On {talk_day} it's even worse|It's been like this since {talk_day}].
--
X: [What a lovely dog! Is it yours?|Is that your dog outside?]
Y: [Yes|Thanks], [his|her] name is {talk_pet}. [Only {late} months old|We've had a dog since May].
--
D: I like [the music in here|that picture on the wall].
O: [Thank you|Oh, thanks], my {talk_kin} [chose|found] it.
""",
    "work": """
X: Did you [see|watch] the {talk_sport} [game|match] [yesterday|last night]?
Y: [Only the end|Yes, the whole thing]. [My {talk_kin} couldn't stop shouting|What a finish].
--
X: [The elevator is broken again, by the way.|The coffee machine is broken again, did you notice?]
Y: [Again|Oh no]! They repaired it [on {talk_day}|{late} days ago].
--
Y: [How was|Did you enjoy] your weekend?
X: [Quiet|Busy], we [visited|had a visit from] my {talk_kin}. [And yours|How about you]?
Y: [It rained all the time|I slept most of it], but it was nice.
--
X: It's [much|far] too warm in here, {degrees} degrees [on my side|at my desk].
Y: [Someone turned up the heating|The fan broke on {talk_day}].
""",
    "friends": """
X: [Is that a new jacket?|I like your jacket!]
Y: [Thanks|Yes], it [was a present from|belongs to] my {talk_kin}.
--
X: [I'm so tired|I could fall asleep right here]. [The neighbor's dog|{talk_pet}, our dog,] barked all night.
Y: [Poor you|Oh dear]. [Have some coffee|You should take a nap].
--
Y: [Did you watch|Have you seen] the {talk_sport} [game|match]?
X: [I missed it|No], I was [at my {talk_kin}'s place|cooking with my {talk_kin}].
--
X: [Guess what|Listen to this], my {talk_kin} [found a new job|won a bike] on {talk_day}!
Y: [Wow|How nice], [say hello from me|that's good news].
--
X: [I can't stand this weather|What a day], {degrees} degrees!
Y: [I know|Tell me about it]. [I'd rather stay in bed|I liked last week better].
""",
}

TALK_SLOTS = {
    "degrees": "integer 26 39 1",
    "late": "number 3 12",
    "talk_day": "weekday",
    "talk_pet": "Rocky | Luna | Max | Coco | Biscuit",
    "talk_kin": "sister | brother | cousin | aunt | uncle | grandmother",
    "talk_sport": "football | basketball | tennis | hockey | baseball",
}
