"""Situations among friends and family: party, school, trip, movie, dinner, gift, band."""

BIRTHDAY = """
name: birthday_plan
register: friends
names: first, first
decider: both
topics: plan a birthday | birthday party | a surprise party | celebrate a birthday
who: person
age: integer 20 70 1
day: weekday
guests: integer 11 45 1
cake: chocolate cake | carrot cake | cheesecake | lemon cake | apple pie
choice: celebrate in the garden = a storm is coming | the garden is being dug up
choice: book the bowling alley = the bowling alley closed in spring | half of the guests hate bowling
choice: rent a boat = many guests get seasick | the boats hold six people at most
choice: have a picnic at the lake = swimming is forbidden at the lake now | the lake is full of wasps
choice: meet at the pizza place = the pizza place doesn't take groups | the pizza place failed an inspection
choice: dance at the old cinema = the old cinema has no sound system | the old cinema asks for a huge deposit
@open
A: {who} turns {age} on {day}<B>. [We need a plan|We have to do something]!
B: [Oh yes|Right]! How many people [are coming|shall we invite]?
A: {guests}[, I'd say|].
--
B: [Do you remember|Did you know] that {who}'s birthday is on {day}<A>?
A: [Of course|How could I forget]! {age} years old! I've [invited|asked] {guests} people.
--
A: [Keep this a secret|Listen]<B>. I'm planning a party for {who} on {day}, with {guests} guests.
B: [How sweet|Wonderful]! How old will {who} be?
A: {age}.
@cake*
A: [Could you make|Will you bake] a {cake}?
B: A {cake}? [With pleasure|I'd love to].
--
B: I'll [bring|make] a {cake}.
A: [Yummy|Perfect], everybody loves that.
@music*?
A: [Who does the music|What about music]?
B: [My brother has a speaker|We'll sing].
@setting
{A} and {B} plan {who}'s birthday on {day}. {who} turns {age}, and {guests} guests are coming.
{who} turns {age} on {day}, so {A} plans a party for {guests} people with {B}.
{B} talks to {A} about a party for {guests} guests on {day}, as {who} will be {age}.
@detail
{B} will make a {cake}. || The {cake} comes from {B}.
@ask
Whose birthday is it? = {who}'s
How old will {who} be? = {age}
Who makes the {cake}? = {B}
"""

SCHOOL = """
name: school_meeting
register: work
names: formal, formal
decider: B
topics: school meeting | talk to a teacher | parents' evening | a child at school
child: person
subject: math | English | history | geography | physics | French
grade: number 3 12
good: draws very well | sings in the choir | helps the others | reads a lot | runs faster than anyone
day: weekday
choice: hire a tutor = tutors ask for forty dollars an hour | the tutor is on leave until May
choice: repeat the year = all the friends would be in another class | a whole year is lost
choice: change to another class = the other class is full | the other class starts with Latin
choice: practice every evening at home = evenings at home are filled with sports | nobody at home knows the subject
choice: join the homework club = the homework club ends too late for the bus | the homework club has a long waiting list
@open
A: [Thank you for coming|Please sit down]<B>. I teach {subject}, and I'd like to talk about {child}.
B: [Is there a problem|What did {child} do]<A>?
A: The marks in grade {grade} [are getting worse|have become poor].
--
B: [Good evening|Hello]<A>. I'm here [because of|about] {child}, grade {grade}.
A: [Yes|I know]<B>. In {subject}, [things aren't going well|there are some difficulties].
--
A: {child} in grade {grade} is your child, right<B>?
B: [Yes|That's right]<A>. [How are things in|What about] {subject}?
A: [Not good, to be honest|There's some trouble with that].
@good*
B: [Is there anything good|Any good news]?
A: Yes, {child} {good}.
--
A: [On the bright side|I must also say that] {child} {good}.
B: [I'm proud to hear that|That's nice to hear].
@settle
A: [Let's talk again|We should meet again] on {day}.
B: [On {day}, okay|Gladly].
--
B: When shall we [meet|talk] again?
A: [How about {day}?|Let's say {day}.]
B: [Agreed|Fine].
@coat*?
A: [Somebody found a blue coat, is it yours?|Are you cold? I can close the window.]
B: No, [thank you|but thanks].
@setting
{A} tells {B} that {child} in grade {grade} has trouble with {subject}.
{B} meets the teacher, {A}, because {child} in grade {grade} has poor marks in {subject}.
{A}, who teaches {subject}, talks to {B} about the marks of {child} in grade {grade}.
@detail
{A} says that {child} {good}. || {child} {good}, {A} adds.
They will meet again on {day}. || The next talk is on {day}.
@ask
Who is the teacher? = {A}
Which subject is difficult? = {subject}
Which grade is {child} in? = grade {grade}
"""

TRIP = """
name: weekend_trip
register: friends
names: first, first
decider: both
topics: weekend trip | plan a trip | a day out | travel with friends
day: weekday
time: clock
meet: the bus stop | the fountain | the north gate | the gas station | the old tower
money: dollars 15 95 5
friend: person
choice: hike up Eagle Peak = the path to Eagle Peak is icy | wild boars were seen on Eagle Peak
choice: drive to the beach = the road to the beach is blocked | jellyfish are all over the beach
choice: visit the castle = the castle is closed for a film crew | the castle tours are sold out
choice: go to the zoo = the zoo raised its prices | the best animals at the zoo are asleep in winter
choice: explore the caves = the caves are under water | the guide for the caves quit
choice: ride bikes to Long Lake = one of the bikes has a flat tire | the bike path is a building site
@open
A: [Are you free|Do you have time] on {day}<B>? [Let's go somewhere|I want to get out of the city].
B: [Good idea|I'd love to]! [What time|When do we leave]?
A: At {time}, from {meet}.
--
B: [What are we doing|Do we have any plans] on {day}<A>?
A: [A trip|We're going on a trip]! We meet at {time} at {meet}.
--
A: I've [told everyone|written to everyone] to be at {meet} on {day}<B>.
B: [At what time|How early]<A>? [I like to sleep|Not too early, I hope].
A: At {time}.
@money*
B: How much money [do I need|should I bring]?
A: {money}[ should be enough|, for food and tickets].
--
A: [Bring|Don't forget to bring] {money} for [food and tickets|everything].
B: {money}? [I get paid tomorrow, luckily|No problem].
@friend*
B: Can {friend} come along?
A: [Sure, {friend} is fun|Yes, there's room for {friend}].
--
A: {friend} is [coming, too|joining us].
B: {friend}? [Great|That will be fun].
@lunch*?
B: [I'll make sandwiches|I'll take my camera].
A: [Lovely|Please do].
@setting
{A} and {B} plan a trip on {day}. They meet at {time} at {meet}.
{A} invites {B} on a trip on {day}, starting at {time} from {meet}.
{B} will go on a trip with {A} on {day}. It begins at {meet} at {time}.
@detail
{B} should bring {money}. || {A} tells {B} to bring {money}.
{friend} is coming along. || They are joined by {friend}.
@ask
Where do they meet? = at {meet}
When is the trip? = on {day} at {time}
Who is coming along? = {friend}
"""

MOVIE = """
name: movie_night
register: friends
names: first, first
decider: both
topics: movie night | go to the movies | choose a film | an evening out
title: The Silent Harbor | Seven Umbrellas | Moon over Maine | The Last Baker | Robots in Love | A Train to Nowhere
time: clock
row: number 3 12
price: dollars 8 19 1
friend: person
choice: watch it at home = the screen at home is too small | the film is not out for home use yet
choice: go to the Roxy = the Roxy has hard wooden seats | the Roxy shows it without sound this week
choice: see it at the open-air cinema = the open-air cinema is cold at night | trains pass right behind the open-air cinema
choice: go to the mall cinema = parking at the mall costs twelve dollars | the mall cinema is full of teenagers
choice: wait for the film club = the film club shows it with bad subtitles | the film club meets only once a season
@open
A: Have you [heard of|seen] {title}<B>? {friend} [can't stop talking about it|says it's fantastic].
B: [Not yet|No, but I want to see it]! When [is it on|does it start]?
A: At {time}.
--
B: I [really want|would love] to see {title} tonight<A>.
A: [Me too|Same here]! {friend} [told me|said] it starts at {time}.
--
A: [What about a film tonight|Are you doing anything tonight]<B>? {friend} [recommends|loves] {title}.
B: [Sounds good|I'm curious]. [At what time|When]?
A: {time}.
@row*
A: [I like to sit|Let's sit] in row {row}.
B: Row {row}, [fine|if you like].
--
B: [Where do we sit|Which row]?
A: Row {row}, [as always|please].
@price*
B: [What's a ticket|How much is a ticket]?
A: {price}.
--
A: [A ticket is|Tickets are] {price}[ each|].
B: {price}? [It used to be less|I can pay for both of us].
@popcorn*?
B: [I want popcorn|Let's eat something first].
A: [With lots of butter|You're always hungry].
@setting
{A} and {B} want to see {title} at {time}. {friend} recommended it.
{friend} likes {title}, so {A} and {B} plan to see the film at {time}.
{A} talks to {B} about {title}, which starts at {time} and is praised by {friend}.
@detail
They will sit in row {row}. || {A} wants to sit in row {row}.
A ticket costs {price}. || They pay {price} for a ticket.
@ask
Which film is it? = {title}
When does the film start? = at {time}
Who recommended the film? = {friend}
"""

DINNER = """
name: cook_dinner
register: friends
names: first, first
decider: both
topics: cook dinner | plan a meal | invite guests | dinner for friends
guests: number 3 12
day: weekday
diet: eats no meat | is allergic to nuts | can't have milk | hates onions | doesn't eat fish
who: person
shop: the market | the corner store | the farm shop | the Turkish grocery
amount: number 2 9
thing: eggs | tomatoes | lemons | bottles of water | bags of rice | potatoes
choice: make a big stew = the big pot has a hole | a stew needs five hours
choice: bake fish with herbs = the whole kitchen smells for days after fish | the oven is not hot enough for fish
choice: order Chinese food = the Chinese place no longer delivers | the bill would be too high for so many people
choice: grill in the yard = the gas for the grill is empty | the neighbors complain about smoke
choice: serve soup and bread = soup and bread is not enough for hungry people | there are only four soup bowls
@open
A: {guests} people are coming for dinner on {day}<B>! [What shall we cook|What do we make]?
B: [Don't panic|Relax]. [But remember that|Just remember,] {who} {diet}.
--
B: [How many guests do we have|Who is coming] on {day}<A>?
A: {guests}[, and|. And] {who} {diet}, [don't forget|as you know].
--
A: We need [a menu|an idea] for {day}<B>. There will be {guests} guests.
B: {guests}? [Good heavens|Okay]. And {who} {diet}.
@buy*
A: [Could you get|Can you buy] {amount} {thing} at {shop}?
B: [Yes, {amount} {thing}|Sure, {amount} {thing} from {shop}].
--
B: I'll [go to|stop at] {shop} and get {amount} {thing}.
A: [Thanks|Good], [we have none left|I was about to ask].
@table*?
A: [The table is too small|We don't have enough chairs].
B: [Some can sit on the floor|I'll ask the neighbors].
@setting
{A} and {B} plan a dinner for {guests} guests on {day}. {who} {diet}.
{guests} people come for dinner on {day}, and {B} and {A} think about the food. {who} {diet}.
{A} talks to {B} about a dinner on {day} with {guests} guests, of whom {who} {diet}.
@detail
{B} will buy {amount} {thing} at {shop}. || {A} gets {amount} {thing} from {B}, who goes to {shop}.
@ask
How many guests are coming? = {guests}
Who goes to {shop}? = {B}
What must be bought? = {amount} {thing}
"""

GIFT = """
name: farewell_gift
register: work
names: first, first
decider: both
topics: buy a gift | a farewell present | choose a farewell gift | present for a colleague
who: person
years: number 3 12
reason: retires | moves abroad | starts a business | goes back to school | has a baby
money: dollars 60 290 10
day: weekday
choice: buy a watch = a watch is a boring present | the boss gave a watch already
choice: get concert tickets = the concert was canceled | concert tickets are too expensive
choice: order a basket of fruit = fruit goes bad in the heat | the shop delivers no baskets this week
choice: give a cooking class = the cooking class is for beginners | the cooking class takes place too far away
choice: make a photo book = a photo book takes two weeks to print | there are almost no photos
choice: buy a hammock = a hammock needs two trees | the hammock weighs thirty pounds
@open
A: [Did you know|Have you heard] that {who} {reason}<B>? After {years} years with us!
B: [Really|Oh no]! We [need|should find] a present.
--
B: We [still have no present|need an idea] for {who}<A>.
A: [Right|True]. {who} {reason}, after {years} years here.
--
A: {who} {reason}<B>, [you know|as I told you]. {years} years in our office!
B: [Time flies|That's a long time]. [Let's give something nice|We must buy a gift].
@money*
B: How much [money do we have|did we collect]?
A: {money}.
--
A: I've [collected|got] {money} [from everybody|in an envelope].
B: {money}! [People were generous|Not bad].
@settle
A: [The party is|We say goodbye] on {day}.
B: [I'll have it by then|So we have until {day}].
@card*?
B: [Did you sign the card|Is there a card]?
A: [It's on my desk|Yes, with a frog on it].
@setting
{A} and {B} need a present for {who}, who {reason} after {years} years.
{who} {reason} after {years} years, and {A} looks for a gift with {B}.
{B} talks to {A} about a gift for {who}, who worked there for {years} years and {reason}.
@detail
They have {money}. || {A} has collected {money}.
The party is on {day}. || They say goodbye on {day}.
@ask
Who gets a present? = {who}
How much money is there? = {money}
When is the party? = on {day}
"""


BAND = """
name: band_practice
register: friends
names: first, first
decider: both
topics: band practice | prepare a concert | play in a band | a music group
event: the street festival | the school ball | the harvest party | the charity night
date: date
songs: number 3 12
time: clock
player: person
instrument: drums | trumpet | bass | violin | keyboard
choice: practice in the garage = the garage has bad air | the police came to the garage last time
choice: play without a singer = the audience wants a singer | half of the songs are duets
choice: record a demo first = the studio is booked out | a demo costs eight hundred dollars
choice: use the church hall = the church hall echoes | the church hall is needed for a wedding
choice: change the program = the program is already printed | nobody knows any other songs
@open
A: [We're playing|They booked us] at {event} on {date}<B>!
B: [Fantastic|Wow]! How many songs?
A: {songs}. And we start at {time}.
--
B: [Is it true that|So] we play at {event}<A>?
A: Yes, on {date} at {time}, {songs} songs.
@player*
A: {player} will play the {instrument}.
B: {player}? [Cool|Good choice].
--
B: Who plays the {instrument}?
A: {player}[, of course|].
@setting
{A} and {B} will play {songs} songs at {event} on {date} at {time}.
{A} tells {B} about a concert at {event} on {date}. They play {songs} songs from {time}.
@detail
{player} plays the {instrument}. || The {instrument} will be played by {player}.
@ask
Where will they play? = at {event}
How many songs will they play? = {songs}
Who plays the {instrument}? = {player}
"""

SITUATIONS = (BIRTHDAY, SCHOOL, TRIP, MOVIE, DINNER, GIFT, BAND)
